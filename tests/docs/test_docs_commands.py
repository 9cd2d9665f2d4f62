"""What the pages tell people to type: every command line parses, every make target exists, every file is there."""

import re
import shlex
from pathlib import Path

import click
import pytest

from potchain.cli.program import potchain

ROOT = Path(__file__).parent.parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "docs" / "tutorial.md",
    *sorted((ROOT / "docs" / "tutorial").glob("*.md")),
    ROOT / "docs" / "reference" / "fpbft-report.md",
    *sorted((ROOT / "docs" / "how-to").glob("*.md")),
    ROOT / "docs" / "reference" / "configuration.md",
]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
ASSIGNMENT = re.compile(r"^[A-Z_]+=")
OTHERS = {".", "export", "sed", "kill", "sqlite3", "curl", "pip", "python", "python3", "dask", "ape"}
"""Other programs that the pages use; they must be ones that a reader has, or is told to install."""


def command_lines() -> list[tuple[str, str]]:
    found = []
    for path in PAGES:
        for block in re.findall(r"```console\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL):
            lines = [line[2:] for line in block.splitlines() if line.startswith("$ ")]
            assert lines, f"a console block of {path.name} has no command: {block}"
            found += [(path.name, line) for line in lines]
    return found


def words_of(line: str) -> list[str]:
    """Words of the command itself: without assignments before it, redirections and a trailing &."""
    plain = re.sub(r'"?\$\([^)]*\)"?', "VALUE", line)
    words = shlex.split(re.sub(r"\s+(>.*|&)$", "", plain))
    assigned = [word for word in words if ASSIGNMENT.match(word)]
    return words if len(assigned) == len(words) else [word for word in words if not ASSIGNMENT.match(word)]


def check_potchain(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Walk down to the command and let click parse what follows; a file need not exist."""
    command: click.Command = potchain
    context = click.Context(command, info_name="potchain")
    while isinstance(command, click.Group):
        _, inner, words = command.resolve_command(context, words)
        assert inner is not None, words
        command = inner
        context = click.Context(command, info_name=command.name, parent=context)
    for parameter in command.params:
        if isinstance(parameter.type, click.Path):
            monkeypatch.setattr(parameter, "type", click.Path())
        elif parameter.type.name in VALUES:
            words = [VALUES[parameter.type.name] if word in ("VALUE", "$TO", "$INDEX") else word for word in words]
    command.make_context(command.name, words, parent=context.parent)


VALUES = {"address": "0x" + "00" * 19 + "A1", "hash": "0x" + "ab" * 32, "index": "0x0c"}


def test_there_are_commands_to_check() -> None:
    assert len(command_lines()) > 30


@pytest.mark.parametrize(("page", "line"), command_lines())
def test_command_lines_can_be_run(page: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = words_of(line)
    program = words[0]
    if program == "potchain":
        check_potchain(words[1:], monkeypatch)
    elif program == "make":
        assert words[1] in TARGETS
        assert all(ASSIGNMENT.match(word) for word in words[2:])
    elif program == "python":
        assert (ROOT / words[1]).is_file()
    else:
        assert program in OTHERS or all(ASSIGNMENT.match(word) for word in words), f"{page}: what is {program}?"
    for inner in re.findall(r"\$\((potchain [^)]*)\)", line):
        check_potchain(shlex.split(inner)[1:], monkeypatch)


def test_the_readme_has_the_two_commands_first() -> None:
    first = re.findall(r"```console\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)[0]
    assert first == "$ make demo\n$ make test\n"


def test_ten_lines_are_ten() -> None:
    source = (ROOT / "docs" / "examples" / "ten_lines.py").read_text(encoding="utf-8")
    body = source.split("from eth_account import Account\n", 1)[1].strip().splitlines()
    assert len(body) == 10
    assert "potchain" not in source.split('"""', 2)[2]
