"""The style as a test: sizes, names, banned calls with their replacement, and rules that no other tool checks."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70
BANNED_NAMES = {"utils", "util", "helpers", "helper", "manager", "managers", "base", "misc", "common"}

SHIPPED = sorted(
    path
    for folder in ("potchain", "plugins", "migrations")
    for path in (ROOT / folder).rglob("*.py")
    if "__pycache__" not in path.parts
)
TESTS = sorted(path for path in (ROOT / "tests").rglob("*.py") if "__pycache__" not in path.parts)
PROTOCOL = ("consensus", "replica", "pool", "blocks.py", "application", "proofs.py", "genesis.py", "transactions.py")

BANNED_TEXT = {
    r"\b(TODO|FIXME|XXX)\b": "finish it, or open an issue",
    r"\bNotImplementedError\b": "leave the boundary away instead of a stub",
}
BANNED_IN_TESTS = {
    r"pytest\.mark\.(skip|xfail)|pytest\.(skip|xfail)\(": "a test runs or does not exist",
    r"\btime\.sleep\(": "wait for a condition, with a deadline",
    r"asyncio\.sleep\([1-9]": "wait for a condition, with a deadline",
}
BANNED_CALLS = {
    "time.time": "potchain.driver.clock, or time.monotonic at the edge",
    "datetime.now": "block time, or potchain.driver.clock",
    "datetime.utcnow": "block time, or potchain.driver.clock",
}


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), named(path))


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_the_tree_is_found() -> None:
    assert len(SHIPPED) > 30
    assert len(TESTS) > 5


@pytest.mark.parametrize("path", SHIPPED, ids=named)
def test_sizes(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MODULE_LINES_MAX, f"{lines} lines: does it hold two ideas?"
    for function in functions(parsed(path)):
        length = (function.end_lineno or 0) - function.lineno + 1
        assert length <= FUNCTION_LINES_MAX, f"{function.name} has {length} lines, at most {FUNCTION_LINES_MAX}"


@pytest.mark.parametrize("path", SHIPPED, ids=named)
def test_names_say_what_a_room_owns(path: Path) -> None:
    words = {word for part in path.relative_to(ROOT).with_suffix("").parts for word in part.split("_")}
    assert not words & BANNED_NAMES, "name it after what it owns"


@pytest.mark.parametrize("path", [path for path in SHIPPED if path.stat().st_size], ids=named)
def test_modules_begin_with_their_rules(path: Path) -> None:
    assert ast.get_docstring(parsed(path)), "a module begins with its theory of operation and its rules"


@pytest.mark.parametrize("path", [path for path in SHIPPED if "migrations" not in path.parts], ids=named)
def test_public_things_are_explained(path: Path) -> None:
    for node in parsed(path).body:
        public = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name[0] != "_"
        if public and not any(isinstance(part, ast.Pass) for part in node.body):
            assert ast.get_docstring(node), f"{node.name} has no docstring"


@pytest.mark.parametrize("path", SHIPPED, ids=named)
def test_banned_text_and_calls(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for pattern, instead in BANNED_TEXT.items():
        found = re.search(pattern, text)
        assert not found, f"{found.group()!r}: {instead}" if found else ""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Call):
            assert ast.unparse(node.func) not in BANNED_CALLS, BANNED_CALLS.get(ast.unparse(node.func))


@pytest.mark.parametrize("path", SHIPPED, ids=named)
def test_errors_are_caught_by_name(path: Path) -> None:
    for node in ast.walk(parsed(path)):
        if not isinstance(node, ast.ExceptHandler):
            continue
        caught = "everything" if node.type is None else ast.unparse(node.type)
        if caught in ("everything", "Exception", "BaseException"):
            passed_on = isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None
            assert passed_on, f"line {node.lineno}: name the error, or raise it again at the end"


@pytest.mark.parametrize("path", TESTS, ids=named)
def test_tests_neither_sleep_nor_skip(path: Path) -> None:
    if path == Path(__file__):
        return
    text = path.read_text(encoding="utf-8")
    for pattern, instead in BANNED_IN_TESTS.items():
        found = re.search(pattern, text)
        assert not found, f"{found.group()!r}: {instead}" if found else ""


@pytest.mark.parametrize("path", SHIPPED, ids=named)
def test_thresholds_live_in_quorum_alone(path: Path) -> None:
    if path.parts[-2:] != ("consensus", "quorum.py"):
        assert not re.search(r"//\s*3\b", path.read_text(encoding="utf-8")), "ask potchain.consensus.quorum.Quorum"


@pytest.mark.parametrize("path", [path for path in SHIPPED if path.is_relative_to(ROOT / "potchain")], ids=named)
def test_nobody_inside_imports_the_root(path: Path) -> None:
    if path == ROOT / "potchain" / "__init__.py":
        return
    rooms = {entry.stem for entry in (ROOT / "potchain").iterdir()}
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ImportFrom) and node.module == "potchain" and not node.level:
            assert {alias.name for alias in node.names} <= rooms, "import the room, not the public API"
        if isinstance(node, ast.Import):
            assert "potchain" not in {alias.name for alias in node.names}, "import the room, not the public API"


@pytest.mark.parametrize("path", [path for path in SHIPPED if path.is_relative_to(ROOT / "plugins")], ids=named)
def test_plugins_import_only_the_public_api(path: Path) -> None:
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ImportFrom) and node.module:
            assert node.module == "potchain.commands" or not node.module.startswith("potchain."), (
                f"{node.module} is not public; take it from potchain"
            )


def test_protocol_code_has_no_floats() -> None:
    paths = [path for path in SHIPPED if set(path.relative_to(ROOT).parts) & set(PROTOCOL)]
    for path in paths:
        for node in ast.walk(parsed(path)):
            where = f"{named(path)}:{getattr(node, 'lineno', 0)}: integers only"
            assert not (isinstance(node, ast.Constant) and isinstance(node.value, float)), where
            assert not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)), where


def test_test_files_have_distinct_names() -> None:
    names = [path.name for path in TESTS if path.name.startswith("test_")]
    assert len(names) == len(set(names))
