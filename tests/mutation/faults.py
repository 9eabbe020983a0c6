"""Small faults that can be planted in a module: each is one place of its syntax tree, and what stands there instead.

What is never touched: texts for people, annotations, assertions that only narrow types, what is logged, protocols.
"""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

_WORD = re.compile(r"[a-z][a-z0-9_-]{0,29}")
_SQL = re.compile(r"\b(SELECT|UPDATE|INSERT|DELETE|WHERE|AND|ORDER BY|CASE WHEN|FROM|SET)\b")
_SQL_FAULTS: Sequence[tuple[str, str]] = (
    (" AND ", " OR "),
    (" OR ", " AND "),
    ("NOT ", ""),
    (" <= ", " < "),
    (" >= ", " > "),
    (" <> ", " = "),
    (" < ", " > "),
    (" = ", " <> "),
    (" IN ", " NOT IN "),
    (" IS NULL", " IS NOT NULL"),
    (" DESC", " ASC"),
    (" DO NOTHING", " DO UPDATE SET id = excluded.id"),
    ("version + 1", "version"),
    ("THEN 0", "THEN 1"),
    ("ELSE 0", "ELSE 1"),
    ("SUM(", "MAX("),
)
_COMPARE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Div,
    ast.Pow: ast.Mult, ast.Mod: ast.Mult, ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr,
}  # fmt: skip
_SHOWN_CHARS = 90
_AS_GOOD_AS_NONE = ("None", "False", "''", "()", "[]")
_OPPOSITES = {"min": "max", "max": "min", "any": "all", "all": "any"}


@dataclass(frozen=True, kw_only=True)
class Fault:
    """``path`` is relative to the project. ``scope``: the function, with its class; empty for the module itself.

    ``lines`` are the first and the last of the statement, of a compound one those of its head; ``function`` is where
    its function begins, None of what an import runs. ``source``: the module with it; empty if that is no Python.
    """

    path: Path
    line: int
    lines: tuple[int, int]
    function: int | None = None
    scope: str
    before: str
    after: str
    plant: Callable[[], str]

    @cached_property
    def source(self) -> str:
        return self.plant()

    def __str__(self) -> str:
        what = " -> ".join(
            text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…" for text in (self.before, self.after)
        )
        return f"{self.path}:{self.line} {self.scope or '(module)'}: {what}"


def faults_of(root: Path, path: Path) -> list[Fault]:
    """Every fault that can be planted in a module, in the order of its text."""
    tree = ast.parse((root / path).read_text(encoding="utf-8"))
    functions = [
        (node.lineno, node.end_lineno or node.lineno)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return [
        Fault(
            path=path,
            line=site.node.lineno,
            lines=_lines_of(site.statement),
            function=max((at for at, to in functions if at < site.statement.lineno <= to), default=None),
            scope=site.scope,
            before=site.before or _shown(site.node),
            after=site.after or _shown(site.replacement),
            plant=partial(_plant, tree, site),
        )
        for site in list(_walk(tree, None, ""))
    ]


def without(root: Path, fault: Fault) -> Fault:
    """The same place with nothing planted: whoever sees that sees something else than faults."""
    source = ast.unparse(ast.parse((root / fault.path).read_text(encoding="utf-8")))
    return replace(fault, after="(nothing planted)", plant=lambda: source)


@dataclass(slots=True)
class _Site:
    """``replace`` changes the tree, and answers what changes it back."""

    node: ast.expr | ast.stmt
    replacement: ast.AST
    statement: ast.stmt
    scope: str
    replace: Callable[[], Callable[[], None]]
    before: str = ""
    after: str = ""


def _plant(tree: ast.Module, site: _Site) -> str:
    undo = site.replace()
    try:
        source = ast.unparse(ast.fix_missing_locations(copy.deepcopy(tree)))
        compile(source, "fault", "exec")
    except (SyntaxError, ValueError):
        return ""
    finally:
        undo()
    return source


def _lines_of(statement: ast.stmt) -> tuple[int, int]:
    body: list[ast.stmt] | None = getattr(statement, "body", None)
    if body is None:
        return statement.lineno, statement.end_lineno or statement.lineno
    return statement.lineno, max(statement.lineno, body[0].lineno - 1)


def _walk(node: ast.AST, statement: ast.stmt | None, scope: str) -> Iterator[_Site]:
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        if isinstance(node, ast.ClassDef) and any(_shown(base) == "Protocol" for base in node.bases):
            return
        scope = f"{scope}.{node.name}" if scope else node.name
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "bases", "type_params", "msg", "format_spec"):
            continue
        children = value if isinstance(value, list) else [value]
        for index, child in enumerate(children):
            if not isinstance(child, ast.AST) or _is_left_alone(child, node, name, index):
                continue
            current = child if isinstance(child, ast.stmt) else statement
            put = _put_into(value, index) if isinstance(value, list) else _put_at(node, name)
            if isinstance(child, ast.expr | ast.stmt) and current is not None:
                yield from _faults_at(child, node, name, current, scope, put)
            if isinstance(child, ast.JoinedStr):
                yield from _walk_words(child, current, scope)
                continue
            yield from _walk(child, current, scope)


def _is_left_alone(child: ast.AST, parent: ast.AST, name: str, index: int) -> bool:
    if isinstance(child, ast.Assert | ast.Import | ast.ImportFrom):
        return True
    if isinstance(child, ast.If) and _shown(child.test) == "TYPE_CHECKING":
        return True
    if isinstance(child, ast.Expr):
        is_text = isinstance(child.value, ast.Constant)
        is_logged = isinstance(child.value, ast.Call) and _shown(child.value.func).startswith("logger.")
        return is_text or is_logged
    if isinstance(child, ast.Assign | ast.AnnAssign) and isinstance(child.value, ast.Call):
        called = _shown(child.value.func)
        return called in ("TypeVar", "logging.getLogger", "ConfigDict")
    return False


def _walk_words(node: ast.JoinedStr, statement: ast.stmt | None, scope: str) -> Iterator[_Site]:
    """Inside a text with values in it: the values, and SQL, but not its words."""
    for part in node.values:
        if isinstance(part, ast.FormattedValue):
            yield from _walk(part, statement, scope)
        elif isinstance(part, ast.Constant) and statement is not None:
            yield from _sql_faults(part, statement, scope)


def _faults_at(
    node: ast.expr | ast.stmt, parent: ast.AST, name: str, statement: ast.stmt, scope: str, put: _Put
) -> Iterator[_Site]:
    for replacement in _replacements(node, parent, name, scope):
        yield _Site(node, replacement, statement, scope, put(replacement))
    if isinstance(node, ast.Call):
        yield from _keyword_faults(node, statement, scope)
    elif isinstance(node, ast.Try):
        yield from _handler_faults(node, statement, scope)
    elif isinstance(node, ast.Match):
        yield from _case_faults(node, statement, scope)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield from _sql_faults(node, statement, scope)


def _replacements(node: ast.expr | ast.stmt, parent: ast.AST, name: str, scope: str) -> Iterator[ast.AST]:  # noqa: PLR0912
    match node:
        case ast.Compare(ops=[operator]) if type(operator) in _COMPARE:
            yield ast.Compare(left=node.left, ops=[_COMPARE[type(operator)]()], comparators=node.comparators)
        case ast.Compare(ops=[_, _]):
            for index, operator in enumerate(node.ops):
                ops = [*node.ops[:index], _COMPARE[type(operator)](), *node.ops[index + 1 :]]
                yield ast.Compare(left=node.left, ops=ops, comparators=node.comparators)
        case ast.BoolOp():
            yield ast.BoolOp(op=ast.Or() if isinstance(node.op, ast.And) else ast.And(), values=node.values)
            if len(node.values) > 2 or isinstance(node.op, ast.And):
                for index in range(len(node.values)):
                    rest = [*node.values[:index], *node.values[index + 1 :]]
                    yield rest[0] if len(rest) == 1 else ast.BoolOp(op=node.op, values=rest)
        case ast.UnaryOp(op=ast.Not()):
            yield node.operand
        case ast.BinOp() if type(node.op) in _ARITHMETIC and not (_is_text(node.left) or _is_text(node.right)):
            yield ast.BinOp(left=node.left, op=_ARITHMETIC[type(node.op)](), right=node.right)
        case ast.AugAssign():
            yield ast.Pass()
        case ast.Constant(value=bool()):
            yield ast.Constant(not node.value)
        case ast.Constant(value=int() as number):
            yield ast.Constant(number + 1)
        case ast.Constant(value=float() as number):
            yield ast.Constant(number * 2 if number else 1.0)
        case ast.Constant(value=str() as word) if _WORD.fullmatch(word) and word != "utf-8":  # "utf-8_" is the same
            yield ast.Constant(f"{word}_")
        case ast.Call(func=ast.Name(id=called)) if called in _OPPOSITES:
            yield ast.Call(func=ast.Name(_OPPOSITES[called], ast.Load()), args=node.args, keywords=node.keywords)
        case ast.Return(value=value) if value is not None and _shown(value) not in _AS_GOOD_AS_NONE:
            yield ast.Return(value=ast.Constant(None))
        case ast.Expr() | ast.Raise() | ast.Continue() | ast.Break() | ast.Delete():
            yield ast.Pass()
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]) if not scope.endswith("__init__"):
            yield ast.Pass()
    is_test = name == "test" and isinstance(parent, ast.If | ast.IfExp)
    is_filter = name == "ifs" and isinstance(parent, ast.comprehension)
    if isinstance(node, ast.expr) and (is_test or is_filter) and not isinstance(node, ast.Compare | ast.UnaryOp):
        yield ast.UnaryOp(op=ast.Not(), operand=node)


def _keyword_faults(node: ast.Call, statement: ast.stmt, scope: str) -> Iterator[_Site]:
    called = _shown(node.func)
    for index, keyword in enumerate(node.keywords):
        if keyword.arg is None:
            continue
        rest = [*node.keywords[:index], *node.keywords[index + 1 :]]
        before = f"{called}(… {keyword.arg}={_shown(keyword.value)})"
        yield _Site(node, node, statement, scope, _put_at(node, "keywords")(rest), before, f"{called}(…)")


def _handler_faults(node: ast.Try, statement: ast.stmt, scope: str) -> Iterator[_Site]:
    for index, handler in enumerate(node.handlers):
        rest = [*node.handlers[:index], *node.handlers[index + 1 :]]
        before = f"except {_shown(handler.type) if handler.type else ''}"
        if not rest and not node.finalbody:
            rest = [ast.ExceptHandler(type=ast.Tuple(elts=[], ctx=ast.Load()), name=None, body=[ast.Pass()])]
        at: ast.Try | ast.stmt = handler.body[0]
        yield _Site(at, node, handler.body[0], scope, _put_at(node, "handlers")(rest), before, "(not caught)")


def _case_faults(node: ast.Match, statement: ast.stmt, scope: str) -> Iterator[_Site]:
    for first, second in zip(node.cases, node.cases[1:], strict=False):

        def swap(first: ast.match_case = first, second: ast.match_case = second) -> Callable[[], None]:
            def exchange() -> None:
                first.body, second.body = second.body, first.body

            exchange()
            return exchange

        before = f"case {_shown(first.pattern)} / {_shown(second.pattern)}"
        yield _Site(first.body[0], node, first.body[0], scope, swap, before, "(swapped)")


def _sql_faults(node: ast.Constant, statement: ast.stmt, scope: str) -> Iterator[_Site]:
    text = node.value
    if not isinstance(text, str) or not _SQL.search(text):
        return
    for right, wrong in _SQL_FAULTS:
        for found in re.finditer(re.escape(right), text):
            broken = text[: found.start()] + wrong + text[found.end() :]
            near = text[max(0, found.start() - 24) : found.end() + 24]
            put = _put_at(node, "value")(broken)
            yield _Site(node, node, statement, scope, put, f"SQL …{near}…", f"{right.strip()} is {wrong.strip()!r}")


_Put = Callable[[object], Callable[[], Callable[[], None]]]
"""Given what to put somewhere: what does it, which answers what undoes it."""


def _put_at(node: ast.AST, name: str) -> _Put:
    def prepare(new: object) -> Callable[[], Callable[[], None]]:
        def do() -> Callable[[], None]:
            old = getattr(node, name)
            setattr(node, name, new)
            return lambda: setattr(node, name, old)

        return do

    return prepare


def _put_into(items: list[object], index: int) -> _Put:
    def prepare(new: object) -> Callable[[], Callable[[], None]]:
        def do() -> Callable[[], None]:
            old = items[index]
            items[index] = new
            return lambda: items.__setitem__(index, old)

        return do

    return prepare


def _is_text(node: ast.expr) -> bool:
    """Text is put together with +; nothing else can be done with it."""
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _shown(node: ast.AST | object) -> str:
    text = ast.unparse(node) if isinstance(node, ast.AST) else str(node)
    return " ".join(text.split())
