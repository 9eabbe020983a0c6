"""Faults are planted, a weak test does not see them, a good one does, and a line that no test runs is told."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from tests.mutation.__main__ import ROOT, sample
from tests.mutation.collected import codes_for, is_replaced
from tests.mutation.equivalent import Equivalent, Equivalents
from tests.mutation.faults import Fault, faults_of, without
from tests.mutation.figures import Share, interval, together
from tests.mutation.lines import record
from tests.mutation.trials import mirror_of, try_all

MODULE = '''
"""A toy."""
import logging

logger = logging.getLogger(__name__)
LIMIT = 10


def settle(billed: str, amount: int) -> int:
    """What it costs."""
    if billed == "no":
        return 0
    logger.info("settled")
    return min(amount, LIMIT)


def fee(amount: int) -> int:
    if amount > 5:
        return 2
    return 1


def never(amount: int) -> int:
    return amount + 1


def query(name: str) -> str:
    return f"SELECT * FROM jobs WHERE name = {name} AND state IS NULL"
'''
TESTS = """
from toy.money import fee, settle

def test_something_is_settled():
    assert settle("yes", 5) > 0

def test_every_fee():
    assert [fee(amount) for amount in (5, 6)] == [1, 2]
"""


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """A project with one module, and this plugin beside it."""
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "__init__.py").touch()
    (tmp_path / "toy" / "money.py").write_text(MODULE)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "__init__.py").touch()
    (tmp_path / "tests" / "mutation").symlink_to(Path(__file__).parent)
    (tmp_path / "pyproject.toml").write_text('[tool.pytest.ini_options]\npythonpath = ["."]\n')
    return tmp_path


@pytest.mark.long
def test_a_weak_test_leaves_faults_unseen_and_a_good_one_does_not(toy: Path) -> None:
    (toy / "tests" / "test_money.py").write_text(TESTS)
    recording = record(toy, ["tests/test_money.py"], "toy", shown=False)
    faults = [fault for fault in faults_of(toy, Path("toy/money.py")) if fault.source and fault.scope != "query"]
    trials = list(try_all(toy, faults, recording, jobs=1, budget_s=5))
    assert [trial.fault for trial in trials] == faults
    counted = Counter((trial.fault.scope, trial.verdict) for trial in trials)
    assert counted["settle", "unseen"] >= 2
    assert counted["settle", "seen"] >= 1
    assert counted["", "unseen"] == 1  # LIMIT
    assert (counted["fee", "seen"] >= 6, counted["fee", "unseen"]) == (True, 0)
    assert set(counted) & {("never", "seen"), ("never", "unseen")} == set()
    assert counted["never", "not run"] >= 2


@pytest.mark.long
def test_with_nothing_planted_nothing_is_seen(toy: Path) -> None:
    (toy / "tests" / "test_money.py").write_text(TESTS)
    recording = record(toy, ["tests/test_money.py"], "toy", shown=False)
    fault = next(fault for fault in faults_of(toy, Path("toy/money.py")) if fault.scope == "fee")
    planted, control = try_all(toy, [fault, without(toy, fault)], recording, jobs=1, budget_s=5)
    assert (planted.verdict, control.verdict) == ("seen", "unseen")


@pytest.mark.long
def test_a_trial_names_the_test_that_failed(toy: Path) -> None:
    (toy / "tests" / "test_money.py").write_text(TESTS)
    recording = record(toy, ["tests/test_money.py"], "toy", shown=False)
    [inside, *_] = [
        fault for fault in faults_of(toy, Path("toy/money.py")) if (fault.scope, fault.before) == ("fee", "5")
    ]
    [limit] = [fault for fault in faults_of(toy, Path("toy/money.py")) if (fault.scope, fault.before) == ("", "10")]
    (toy / "tests" / "test_money.py").write_text(TESTS + "    assert settle('yes', 30) == 10\n")
    for trial in try_all(toy, [inside, limit], recording, jobs=1, budget_s=5):
        assert trial.verdict == "seen"
        assert trial.last.startswith("tests/test_money.py::test_every_fee\n")
        assert "assert [fee(amount) for amount in (5, 6)] == [1, 2]" in trial.last


@pytest.mark.long
def test_time_outs_work_in_what_a_nursery_has_imported(toy: Path) -> None:
    (toy / "tests" / "test_waiting.py").write_text("""
import asyncio
from toy.money import fee

async def within():
    async with asyncio.timeout(60):
        return fee(6)

def test_fee():
    assert asyncio.run(within()) == 2
""")
    recording = record(toy, ["tests/test_waiting.py"], "toy", shown=False)
    assert "_asyncio" in recording.modules
    fault = next(fault for fault in faults_of(toy, Path("toy/money.py")) if fault.scope == "fee")
    [control] = try_all(toy, [without(toy, fault)], recording, jobs=1, budget_s=5)
    assert control.verdict == "unseen"


@pytest.mark.long
def test_what_a_coroutine_does_when_woken_with_an_error_is_tried(toy: Path) -> None:
    waiting = """
    async def read(answer):
        try:
            return await answer
        except ValueError:
            said = 7
        except KeyError:
            said = 8
        return said
    """
    reading = """
    import asyncio
    from toy.waiting import read

    async def given(error):
        answer = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(answer.set_exception, error)
        return await read(answer)

    def test_read():
        assert asyncio.run(given(ValueError())) == 7
    """
    (toy / "toy" / "waiting.py").write_text(dedent(waiting))
    (toy / "tests" / "test_waiting.py").write_text(dedent(reading))
    recording = record(toy, ["tests/test_waiting.py"], "toy", shown=False)
    faults = [fault for fault in faults_of(toy, Path("toy/waiting.py")) if fault.before in "78"]
    verdicts = {trial.fault.before: trial.verdict for trial in try_all(toy, faults, recording, jobs=1, budget_s=5)}
    assert verdicts == {"7": "seen", "8": "not run"}


@pytest.mark.long
def test_a_new_test_costs_the_recording_of_its_own_file_alone(toy: Path) -> None:
    (toy / "tests" / "test_money.py").write_text(
        TESTS + "from pathlib import Path\nPath('runs').open('a').write('x')\n"
    )
    first = record(toy, ["tests"], "toy", shown=False, kept_in=toy / "kept")
    (toy / "tests" / "test_more.py").write_text(
        "from toy.money import never\n\ndef test_never():\n    assert never(1)\n"
    )
    both = record(toy, ["tests"], "toy", jobs=2, shown=False, kept_in=toy / "kept")
    assert (toy / "runs").read_text() == "x"
    assert set(both.seconds) == {*first.seconds, "tests/test_more.py::test_never"}
    lines = both.lines["toy/money.py"]
    (of_never,) = [line for line, tests in lines.items() if tests == ["tests/test_more.py::test_never"]]
    assert MODULE.splitlines()[of_never - 1].strip() == "return amount + 1"
    assert {line: tests for line, tests in lines.items() if line != of_never} == {
        line: tests for line, tests in first.lines["toy/money.py"].items() if line != of_never
    }


@pytest.mark.long
def test_what_tests_share_costs_whichever_of_them_is_first(toy: Path) -> None:
    (toy / "tests" / "test_shared.py").write_text(
        dedent("""
        import time
        import pytest
        from toy.money import fee

        @pytest.fixture(scope="module")
        def slow():
            time.sleep(0.5)

        @pytest.fixture(scope="module", params=[1, 2])
        def filled(request):
            request.getfixturevalue("slow")
            time.sleep(0.5)

        @pytest.mark.parametrize("amount", [1, 2, 3])
        def test_fee(filled, amount):
            assert fee(amount) == 1

        def test_quick():
            assert fee(6) == 2
        """)
    )
    recording = record(toy, ["tests/test_shared.py"], "toy", shown=False)
    names = [name for name in recording.seconds if "test_fee" in name]
    alone = {name: recording.seconds_of([name]) for name in names}
    assert all(seconds < 0.5 for seconds in recording.seconds.values())
    assert [alone[name] > 1.0 for name in sorted(names)] == [True] * 3 + [False] * 3
    assert all(seconds > 0.5 for seconds in alone.values())
    assert 1.5 < recording.seconds_of(names) < 2.0
    [fault, *_] = [fault for fault in faults_of(toy, Path("toy/money.py")) if fault.scope == "fee"]
    [quick, *others] = recording.near(fault, [], 0.9)
    assert quick.endswith("test_quick")
    assert [name.partition("[")[2][:2] for name in others] == ["2-"] * 3, "two of them for nothing, when one is paid"


@pytest.mark.long
def test_what_passed_is_not_recorded_again_when_others_failed(toy: Path) -> None:
    (toy / "tests" / "test_money.py").write_text(
        TESTS + "from pathlib import Path\nPath('runs').open('a').write('x')\n"
    )
    (toy / "tests" / "test_wrong.py").write_text("def test_wrong():\n    assert False\n")
    (toy / "tests" / "test_broken.py").write_text("import nothing_of_this_name\n")
    with pytest.raises(RuntimeError, match=r"tests/test_(broken|wrong)\.py.*tests/test_(broken|wrong)\.py"):
        record(toy, ["tests"], "toy", shown=False, kept_in=toy / "kept")
    (toy / "tests" / "test_wrong.py").write_text("def test_right():\n    assert True\n")
    (toy / "tests" / "test_broken.py").unlink()
    record(toy, ["tests"], "toy", shown=False, kept_in=toy / "kept")
    assert (toy / "runs").read_text() == "x"


def test_the_interval_is_wilsons_and_has_a_width_where_all_were_seen() -> None:
    assert interval(57, 60) == pytest.approx((0.863, 0.983), abs=0.001)
    assert interval(60, 60) == pytest.approx((0.940, 1.0), abs=0.001)
    assert interval(0, 0) == (0.0, 1.0)


def test_a_sample_weighs_as_much_as_what_it_was_drawn_from() -> None:
    share, low, high = together([Share(seen=50, drawn=50, of_all=900), Share(seen=0, drawn=50, of_all=100)])
    assert share == pytest.approx(0.9)
    assert 0.8 < low < share < high < 1
    assert together([]) == (0.0, 0.0, 1.0)


def test_a_sample_is_the_same_for_a_seed_without_equivalents() -> None:
    path = "ring_mcp/jobs/outcomes.py"
    few, more = (sample(path, 3, count, Equivalents([])) for count in (5, 8))
    assert {str(fault) for fault in few.faults} < {str(fault) for fault in more.faults}
    out = few.faults[0]
    known = Equivalent(path=path, scope=out.scope, before=out.before, after=out.after, reason="x")
    others = sample(path, 3, 7, Equivalents([known]))
    assert others.equivalent >= 1
    assert {str(fault) for fault in few.faults} - {str(out)} < {str(fault) for fault in others.faults}
    assert out not in others.faults


def test_faults_are_small_and_leave_texts_logs_and_types_alone(toy: Path) -> None:
    found = {(fault.scope, fault.before, fault.after) for fault in faults_of(toy, Path("toy/money.py"))}
    assert ("settle", "billed == 'no'", "billed != 'no'") in found
    assert ("settle", "return 0", "return None") in found
    assert ("settle", "min(amount, LIMIT)", "max(amount, LIMIT)") in found
    assert ("", "10", "11") in found
    assert ("never", "amount + 1", "amount - 1") in found
    assert any(after == "AND is 'OR'" for _, _, after in found)
    assert not any("settled" in before or "toy" in before or "int" in before.split() for _, before, _ in found)


def test_the_tree_is_as_before_after_every_fault(toy: Path) -> None:
    faults = faults_of(toy, Path("toy/money.py"))
    sources = [fault.source for fault in faults]
    assert len(set(sources)) == len(sources)
    assert sources == [fault.source for fault in faults_of(toy, Path("toy/money.py"))]


def test_the_tests_of_a_module_stand_in_its_wings_folder() -> None:
    assert mirror_of(ROOT, Path("ring_mcp/jobs/record.py")) == ["tests/jobs/test_record.py"]
    assert "tests/conductors/test_images.py" in mirror_of(ROOT, Path("ring_mcp/conductors/image.py"))


def test_a_fault_is_known_by_its_words_not_its_line() -> None:
    known = Equivalent(path="a.py", scope="f", before="1", after="2", reason="x")
    whatever = Equivalent(path="a.py", scope="f", before="1", reason="x")
    fault = Fault(path=Path("a.py"), line=9, lines=(9, 9), scope="f", before="1", after="2", plant=str)
    other = Fault(path=Path("a.py"), line=9, lines=(9, 9), scope="f", before="1", after="3", plant=str)
    assert (fault in Equivalents([known]), other in Equivalents([known])) == (True, False)
    assert other in Equivalents([whatever])
    assert fault not in Equivalents([])


def test_every_equivalent_fault_can_still_be_planted() -> None:
    for known in Equivalents.read():
        assert any(known.is_about(fault) for fault in faults_of(ROOT, Path(known.path))), known
        assert known.reason


def test_a_function_takes_the_code_that_its_text_has_now(tmp_path: Path) -> None:
    before = """
    def fee(amount):
        def add():
            return amount + 1
        return add()

    class Bill:
        def total(self):
            return super().__repr__()

        @property
        def tip(self): return 1
        @tip.setter
        def tip(self, amount): ...
    """
    path = tmp_path / "bills.py"
    path.write_text(dedent(before))
    names: dict[str, Any] = {}
    exec(compile(path.read_text(), str(path), "exec"), names)
    bill = names["Bill"]
    functions = [names["fee"], bill.total, bill.tip.fget, bill.tip.fset]

    path.write_text(path.read_text().replace("amount + 1", "amount + 2").replace("super().__repr__()", "'none'"))
    codes = codes_for(path, functions)
    for function, code in codes:
        function.__code__ = code

    assert names["fee"](1) == 3, "what lies inside a function is made by it"
    assert is_replaced("fee", codes)
    assert is_replaced("fee.add", codes)
    assert not is_replaced("Bill.total", codes), "it needs other variables of its surroundings now"
    assert not is_replaced("Bill.tip", codes), "two have this name"


@pytest.mark.long
def test_what_an_import_runs_is_tried_in_a_fresh_process(toy: Path) -> None:
    (toy / "tests" / "test_money.py").write_text(
        "from toy.money import settle\n\ndef test_limit():\n    assert settle('yes', 30) == 10\n"
    )
    recording = record(toy, ["tests/test_money.py"], "toy", shown=False)
    [limit] = [fault for fault in faults_of(toy, Path("toy/money.py")) if (fault.scope, fault.before) == ("", "10")]
    [planted, control] = try_all(toy, [limit, without(toy, limit)], recording, jobs=1, budget_s=5)
    assert (planted.verdict, control.verdict) == ("seen", "unseen")


@pytest.mark.long
def test_a_function_that_an_import_alone_calls_is_tried_there(toy: Path) -> None:
    module = toy / "toy" / "money.py"
    module.write_text(f"{MODULE}\n\ndef double(amount: int) -> int:\n    return 2 * amount\n\n\nMOST = double(20)\n")
    (toy / "tests" / "test_money.py").write_text(
        "from toy.money import MOST\n\ndef test_most():\n    assert MOST == 40\n"
    )
    recording = record(toy, ["tests/test_money.py"], "toy", shown=False)
    faults = [fault for fault in faults_of(toy, Path("toy/money.py")) if fault.scope == "double"]
    trials = list(try_all(toy, [*faults, without(toy, faults[0])], recording, jobs=1, budget_s=5))
    assert [trial.verdict for trial in trials] == ["seen"] * len(faults) + ["unseen"]


@pytest.mark.long
def test_for_faults_inside_functions_a_module_is_imported_once(toy: Path) -> None:
    (toy / "tests" / "test_money.py").write_text(TESTS)
    module = toy / "toy" / "money.py"
    module.write_text(f"{MODULE}\nfrom pathlib import Path\nPath({str(toy / 'imports')!r}).open('a').write('x')\n")
    recording = record(toy, ["tests/test_money.py"], "toy", shown=False)
    (toy / "imports").unlink()
    faults = [fault for fault in faults_of(toy, Path("toy/money.py")) if fault.scope == "fee"]
    trials = list(try_all(toy, faults, recording, jobs=1, budget_s=5))
    assert {trial.verdict for trial in trials} == {"seen"}
    assert (toy / "imports").read_text() == "x"
