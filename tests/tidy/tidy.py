"""The house style as functions: each takes one parsed file and returns complaints, each with its line and a way out.

The lists at the top are the only exceptions there are. Each has its reason, and a test fails when one is not needed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("protocol", "provider", "client")

LINES_MAX, LINES_EVER = 300, 400
FUNCTION_LINES_MAX = 50

LONG_FILES: dict[str, str] = {}
LONG_FUNCTIONS: dict[str, str] = {
    "provider/cli/template.py::render": "one text: the configuration as its owner will read it",
}
EDGES: dict[str, str] = {  # who may ask the clock or roll dice itself; everyone else is handed a Clock and a Random
    "protocol/edge/": "the impure part of the protocol: the system's clock and randomness are adapted here",
    "provider/daemon.py": "composition root of the node",
    "provider/cli.py": "a command starts here",
    "provider/cli/": "a command starts here",
    "client/cli.py": "a command starts here",
    "client/cli/": "a command starts here",
    "provider/inference/": "runs alone in the worker; measures its own steps",
}
CLOCKS_AND_DICE = re.compile(
    r"(time\.(time|monotonic|perf_counter)(_ns)?|datetime\.(datetime\.(now|utcnow|today)|date\.today)"
    r"|random\.\w+|secrets\.\w+|os\.urandom|uuid\.uuid[14])"
)
IMPURE = re.compile(
    r"(asyncio|concurrent|http|logging|multiprocessing|os|pathlib|queue|random|secrets|select|shutil|signal|socket"
    r"|sqlite3|ssl|subprocess|sys|tempfile|threading|time|urllib)(\..+)?"
)
MONEY = re.compile(
    r"(?:^|_)(?:amount|balance|budget|cap|captured|cost|credits?|due|earned|earnings|fee|hold|increment|micro_?credits"
    r"|paid|price|reserved|spent|unlocked|worth)s?(?:$|_)"
)
NOT_MONEY = re.compile(r"_(?:at|ms|s|seconds|timeout)$")


@dataclass(frozen=True)
class File:
    """One source file, read and parsed once; `path` is relative to the root."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.path)


Complaint = tuple[int, str]
Check = Callable[[File], Iterator[Complaint]]


def sources() -> list[File]:
    """Our own modules: not generated, not a migration."""
    paths = [p for room in ROOMS for p in sorted((ROOT / room).rglob("*.py"))]
    ours = [p for p in paths if "_pb2" not in p.name and "migrations" not in p.parts]
    return [File(str(p.relative_to(ROOT)), p.read_text()) for p in ours]


def allowed(path: str, exceptions: dict[str, str]) -> bool:
    return any(path == entry or (entry.endswith("/") and path.startswith(entry)) for entry in exceptions)


# --- Size and words --------------------------------------------------------------------------------------------------


def has_a_docstring(file: File) -> Iterator[Complaint]:
    if not ast.get_docstring(file.tree):
        yield 1, "has no docstring: open it with the one rule that this module keeps"


def is_short(file: File) -> Iterator[Complaint]:
    lines = file.text.count("\n")
    limit = LINES_EVER if file.path in LONG_FILES else LINES_MAX
    if lines > limit:
        yield limit, f"has {lines} lines, at most {limit}: find the second idea in it and give that a file of its own"


def functions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for node in ast.iter_child_nodes(tree):
        name = f"{prefix}{node.name}" if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) else ""
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield name, node
        yield from functions(node, f"{name}." if name else prefix)


def long_functions(file: File) -> Iterator[tuple[str, Complaint]]:
    for name, node in functions(file.tree):
        body = (
            node.body[1:] if ast.get_docstring(node) and node.body[1:] else node.body
        )  # signature and docstring are free
        lines = (node.end_lineno or node.lineno) - body[0].lineno + 1
        if lines > FUNCTION_LINES_MAX:
            hint = "cut it where its comments or blank lines are"
            yield name, (node.lineno, f"{name} has {lines} lines, at most {FUNCTION_LINES_MAX}: {hint}")


def functions_are_short(file: File) -> Iterator[Complaint]:
    for name, complaint in long_functions(file):
        if f"{file.path}::{name}" not in LONG_FUNCTIONS:
            yield complaint


def leaves_nothing_for_later(file: File) -> Iterator[Complaint]:
    for number, line in enumerate(file.text.splitlines(), 1):
        if word := re.search(r"\b(TODO|FIXME|XXX|HACK)\b", line):
            yield number, f"{word[0]}: do it now, or write an issue and delete the note"


# --- Errors, clocks, dice --------------------------------------------------------------------------------------------


def swallows_nothing(file: File) -> Iterator[Complaint]:
    for node in ast.walk(file.tree):
        if not isinstance(node, ast.ExceptHandler):
            continue
        if node.type is None:
            yield node.lineno, "bare except: name the error that you expect"
        elif ast.unparse(node.type) in ("Exception", "BaseException") and all(map(does_nothing, node.body)):
            yield node.lineno, f"except {ast.unparse(node.type)} and nothing done: name the error, or handle it"


def does_nothing(statement: ast.stmt) -> bool:
    constant = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return constant or isinstance(statement, ast.Pass | ast.Continue)


def imported_names(tree: ast.Module) -> dict[str, str]:
    """Local name -> what it stands for: `from datetime import datetime as dt` gives {"dt": "datetime.datetime"}."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {
                a.asname or a.name.split(".")[0]: a.name if a.asname else a.name.split(".")[0] for a in node.names
            }
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    return names


def asks_for_clock_and_dice(file: File) -> Iterator[Complaint]:
    if allowed(file.path, EDGES):
        return
    names = imported_names(file.tree)
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Load):
            first, _, rest = ast.unparse(node).partition(".")
            said = f"{names.get(first, '')}.{rest}".rstrip(".")
            if CLOCKS_AND_DICE.fullmatch(said):
                yield (
                    node.lineno,
                    f"{said}: take a Clock or a Random as an argument (edges are listed in tests/tidy/tidy.py)",
                )


# --- Money -----------------------------------------------------------------------------------------------------------


def is_money(node: ast.AST | str | None) -> bool:
    if isinstance(node, ast.Attribute):
        name = node.attr
    elif isinstance(node, ast.Name):
        name = node.id
    else:
        name = node if isinstance(node, str) else ""
    return bool(MONEY.search(name.lower())) and not NOT_MONEY.search(name.lower())


def says_float(annotation: ast.AST | None) -> bool:
    return annotation is not None and bool(re.search(r"\b(float|Decimal)\b", ast.unparse(annotation)))


def money_is_whole(file: File) -> Iterator[Complaint]:
    advice = "money is whole micro-credits (gpufair.protocol.units)"
    for node in ast.walk(file.tree):
        line = getattr(node, "lineno", 0)
        match node:
            case ast.arg(arg=name, annotation=kind) if is_money(name) and says_float(kind):
                yield line, f"{name} is a float: {advice}"
            case ast.AnnAssign(target=target, annotation=kind) if is_money(target) and says_float(kind):
                yield line, f"{ast.unparse(target)} is a float: {advice}"
            case ast.FunctionDef(name=name, returns=kind) | ast.AsyncFunctionDef(name=name, returns=kind) if is_money(
                name
            ) and says_float(kind):
                yield line, f"{name} returns a float: {advice}"
            case ast.Call(func=ast.Name(id="float"), args=[money]) if is_money(money):
                yield line, f"float({ast.unparse(money)}): {advice}"
            case ast.BinOp(left=left, op=ast.Div(), right=right) if is_money(left) or is_money(right):
                yield line, f"{ast.unparse(node)}: divide with units, which rounds once; {advice}"
            case ast.BinOp(left=left, right=right) if (is_money(left) or is_money(right)) and has_float(left, right):
                yield line, f"{ast.unparse(node)}: no float touches an amount; {advice}"


def has_float(*nodes: ast.AST) -> bool:
    return any(isinstance(node, ast.Constant) and isinstance(node.value, float) for node in nodes)


# --- Names -----------------------------------------------------------------------------------------------------------


def imports_by_full_name(file: File) -> Iterator[Complaint]:
    for line, module in imports(file.tree):
        if module.startswith("."):
            yield line, "relative import: write gpufair.<room>.<module>"
        elif module.split(".")[0] in ROOMS:
            yield line, f"import of bare {module} loads a second copy of it: write gpufair.{module}"


def protocol_is_pure(file: File) -> Iterator[Complaint]:
    if not file.path.startswith("protocol/") or allowed(file.path, EDGES):
        return
    for line, module in imports(file.tree):
        if IMPURE.fullmatch(module):
            yield line, f"{module} in a pure module: move the I/O to protocol/edge, or take its result as an argument"


def imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, "." * node.level + (node.module or "")


CHECKS: tuple[Check, ...] = (
    has_a_docstring,
    is_short,
    functions_are_short,
    leaves_nothing_for_later,
    swallows_nothing,
    asks_for_clock_and_dice,
    money_is_whole,
    imports_by_full_name,
    protocol_is_pure,
)
