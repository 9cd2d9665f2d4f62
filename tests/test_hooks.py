"""Every hook has a page, and a test here, made of a plug-in that a stranger could have written."""

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from potchain import cli, commands, hookspecs
from potchain.errors import PluginError
from potchain.registry import Registry, load_plugins

ROOT = Path(__file__).parent.parent
HOOKS = {
    name: function
    for name, function in vars(hookspecs).items()
    if inspect.isfunction(function) and hasattr(function, hookspecs.PROJECT + "_spec")
}

FACTORY = """
import msgspec
from potchain import hookimpl

class Options(msgspec.Struct, forbid_unknown_fields=True):
    rounds: int = 3

class Factory:
    name = {name!r}
    version = "7"
    options_type = Options

@hookimpl
def {hook}():
    return (Factory(),)
"""

Install = Callable[[str, str, str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Puts a distribution with one plug-in on the path: install(distribution, entry point, source)."""
    monkeypatch.syspath_prepend(str(tmp_path))
    made: list[str] = []

    def put(distribution: str, entry: str, source: str) -> None:
        module = f"stranger_{distribution}_{entry}"
        (tmp_path / f"{module}.py").write_text(source, encoding="utf-8")
        metadata = tmp_path / f"{distribution}-1.0.dist-info"
        metadata.mkdir(exist_ok=True)
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[potchain]\n{entry} = {module}\n")
        made.append(module)

    yield put
    for module in made:
        sys.modules.pop(module, None)


def offered(registry: Registry, hook: str) -> set[str]:
    return set({
        "consensus_engines": registry.engines,
        "transports": registry.transports,
        "applications": registry.applications,
        "settlement_backends": registry.settlements,
        "cli_commands": registry.commands,
    }[hook])


def test_there_are_hooks() -> None:
    assert HOOKS


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_a_heading_with_its_signature(hook: str) -> None:
    page = (ROOT / "docs" / "reference" / "hooks.md").read_text(encoding="utf-8")
    signature = str(inspect.signature(HOOKS[hook])).replace("'", "")
    assert f"## {hook}{signature}\n" in page


def test_every_hook_on_the_page_exists() -> None:
    page = (ROOT / "docs" / "reference" / "hooks.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^## (\w+)\(", page, re.MULTILINE)) == set(HOOKS)


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_brings_a_strangers_factory(hook: str, install: Install) -> None:
    install("raftish", "raftish", FACTORY.format(hook=hook, name="raftish"))
    registry = load_plugins()
    assert "raftish" in offered(registry, hook)
    (plugin,) = [plugin for plugin in registry.plugins if plugin.name == "raftish"]
    assert (plugin.distribution, plugin.version) == ("raftish", "1.0")
    assert plugin.offers[0].endswith("raftish 7")


@pytest.mark.parametrize("hook", HOOKS)
def test_two_factories_of_one_name_are_refused_naming_both(hook: str, install: Install) -> None:
    install("one", "one", FACTORY.format(hook=hook, name="twin"))
    install("two", "two", FACTORY.format(hook=hook, name="twin"))
    with pytest.raises(PluginError, match=r"'twin'.*'one' of one 1\.0.*'two' of two 1\.0"):
        load_plugins()
    assert "twin" in offered(load_plugins(disabled=["two"]), hook)


def test_the_built_in_plugins_are_found() -> None:
    registry = load_plugins()
    assert "pbft" in registry.engines
    assert "tcp" in registry.transports
    assert {"accounts", "governance", "settlement"} <= set(registry.applications)
    assert "ledger" in registry.settlements


@pytest.mark.parametrize("fault", ["import no_such_module", "1 / 0", "syntax error here", "raise OSError('gone')"])
def test_a_plugin_that_cannot_be_imported_is_named(fault: str, install: Install) -> None:
    install("broken", "broken", fault)
    with pytest.raises(PluginError, match=r"'broken' of broken 1\.0 cannot be imported.*plugins\.disabled"):
        load_plugins()
    assert "broken" not in [plugin.name for plugin in load_plugins(disabled=["broken"]).plugins]


def test_a_hook_that_does_not_exist_is_refused(install: Install) -> None:
    install("typo", "typo", "from potchain import hookimpl\n@hookimpl\ndef consensus_engine():\n    return ()\n")
    with pytest.raises(PluginError, match=r"'typo' of typo 1\.0 does not fit the hooks"):
        load_plugins()


def test_two_distributions_with_one_entry_point_are_refused(install: Install) -> None:
    source = "from potchain import hookimpl\n"
    install("first", "same", source)
    install("second", "same", source)
    with pytest.raises(PluginError, match=r"named 'same'.*first 1\.0.*second 1\.0"):
        load_plugins()


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(PluginError, match=r"unknown consensus engine 'pbtf' .*fpbft, pbft.*did you mean 'pbft'"):
        load_plugins().engine("pbtf")
    with pytest.raises(PluginError, match=r"unknown transport 'quic'"):
        load_plugins().transport("quic")
    with pytest.raises(PluginError, match=r"unknown application 'acounts'.*did you mean 'accounts'"):
        load_plugins().application("acounts")
    with pytest.raises(PluginError, match=r"unknown settlement back end 'legder'.*did you mean 'ledger'"):
        load_plugins().settlement("legder")


COMMAND = """
import click
from potchain import CommandPlace, hookimpl
from potchain.commands import json_option

@click.command()
@json_option
def greet(as_json):
    click.echo("hello, stranger")

@hookimpl
def cli_commands():
    return (CommandPlace(name={name!r}, version="7", place="stranger_greeter_greeter:greet"),)
"""


def test_a_strangers_command_is_one_of_the_programs(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install("greeter", "greeter", COMMAND.format(name="greet"))
    assert cli.main(["greet"]) == 0
    assert capsys.readouterr().out == "hello, stranger\n"
    assert cli.main(["--help"]) == 0
    assert "\n  greet" in capsys.readouterr().out


def test_a_strangers_command_never_replaces_ours(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install("greeter", "greeter", COMMAND.format(name="tx"))
    assert cli.main(["--help"]) == 0
    assert "a plug-in offers the command 'tx', which the program has itself" in capsys.readouterr().err
    assert cli.main(["greet"]) == 2
    assert cli.main(["tx", "--help"]) == 0
    assert "hello" not in capsys.readouterr().out


def test_a_broken_plugin_costs_no_command_of_ours(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install("broken", "broken", "1 / 0")
    assert cli.main(["--help"]) == 0
    captured = capsys.readouterr()
    assert "\n  tx " in captured.out
    assert "'broken' of broken 1.0 cannot be imported" in captured.err
    assert cli.main(["tx", "--help"]) == 0


def test_what_commands_may_use_is_listed() -> None:
    page = (ROOT / "docs" / "reference" / "hooks.md").read_text(encoding="utf-8")
    assert sorted(commands.__all__) == commands.__all__
    assert all(f"`{name}`" in page for name in commands.__all__)
