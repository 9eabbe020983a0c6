"""How long each model usually takes: three quantiles in one row, moved a little by every job that is measured."""

from __future__ import annotations

from ring_mcp.domain import Usual
from ring_mcp.ledger.rows import Dialect, encode
from ring_mcp.ledger.statements import Row, Statement, Transaction

_PART = {"quarter_s": 0.25, "half_s": 0.5, "most_s": 0.75}
_STEP = 0.15
"""The part of the median by which one job moves a quantile; less once many jobs are known, see ``note``."""

# Never 0: a provider becomes slower or quicker, and the quantiles have to follow.
_LEAST_STEP = 0.03
# A clip that a machine found only when it woke the next morning must not count for more.
LONGEST_S = 3600.0


def note(model: str, sandbox: bool, took_s: float, dialect: Dialect) -> Transaction[Usual]:
    """Count in how long a job took; returns what is usual by now.

    A quantile of part p goes up by p of a step if the job took longer, else down by 1 - p: so it settles where p of the
    jobs are below it. The step is larger while little is known, and a job moves no quantile beyond its own duration.
    """
    least, most = ("min", "max") if dialect.text_times else ("LEAST", "GREATEST")
    step = f"{most}({_LEAST_STEP}, {_STEP} / (1 + usual.jobs / 10.0)) * usual.half_s"
    sets = ", ".join(
        # Twice the part, so that the median moves by a whole step in either direction.
        f"{name} = CASE WHEN excluded.{name} > usual.{name}"
        f" THEN {least}(excluded.{name}, usual.{name} + 2 * {part} * {step})"
        f" ELSE {most}(excluded.{name}, usual.{name} - 2 * {1 - part} * {step}) END"
        for name, part in _PART.items()
    )
    rows = yield Statement(
        "INSERT INTO model_durations AS usual (sandbox, model, quarter_s, half_s, most_s, jobs)"  # noqa: S608
        " VALUES (:sandbox, :model, :took_s, :took_s, :took_s, 1)"
        f" ON CONFLICT (sandbox, model) DO UPDATE SET {sets},"
        # The column has 32 bits in PostgreSQL, and no step changes after the first forty.
        f" jobs = {least}(usual.jobs + 1, 1000000) RETURNING quarter_s, half_s, most_s, jobs",
        {
            "sandbox": encode("sandbox", sandbox, dialect),
            "model": model,
            "took_s": min(LONGEST_S, max(0.0, took_s)),
        },
    )
    return _usual(rows[0])


def select(model: str, sandbox: bool, dialect: Dialect) -> Transaction[Usual | None]:
    """What is usual of a model; None while nothing is known."""
    rows = yield Statement(
        "SELECT quarter_s, half_s, most_s, jobs FROM model_durations WHERE sandbox = :sandbox AND model = :model",
        {"sandbox": encode("sandbox", sandbox, dialect), "model": model},
    )
    return _usual(rows[0]) if rows else None


def _usual(row: Row) -> Usual:
    """Sorted, since the quantiles are moved one by one and may have passed each other."""
    quarter_s, half_s, most_s = sorted(float(row[name]) for name in _PART)
    return Usual(quarter_s=quarter_s, half_s=half_s, most_s=most_s, jobs=int(row["jobs"]))
