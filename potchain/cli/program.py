"""The root command, the table of exit codes, and the one place where an expected error becomes a line on stderr."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import click

from potchain.errors import (
    ClientError,
    ConfigError,
    InvalidProof,
    LedgerCorrupt,
    LedgerError,
    PluginError,
    PotchainError,
    SettlementError,
)

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 3
EXIT_REFUSED = 4
EXIT_TIMEOUT = 5
EXIT_NODE = 6
EXIT_INTERRUPTED = 130

EXIT_CODES = {
    EXIT_OK: "done",
    EXIT_FAILED: "a check failed: a proof, a ledger, a network that is not well, a point of an experiment, a contract",
    EXIT_USAGE: "wrong usage, configuration, genesis, key or plug-in",
    EXIT_UNREACHABLE: "no node, scheduler or chain answers at the URL",
    EXIT_REFUSED: "the node or the chain refused, or answered with an error",
    EXIT_TIMEOUT: "not within the time allowed; nothing is lost, ask again",
    EXIT_NODE: "this node or command cannot go on: a ledger, a file, a socket",
    EXIT_INTERRUPTED: "interrupted",
}

COMMANDS = {
    "account": "potchain.cli.account:account",
    "block": "potchain.cli.block:block",
    "config": "potchain.cli.configuration:config",
    "demo": "potchain.cli.demo:demo",
    "evidence": "potchain.cli.evidence:evidence",
    "experiment": "potchain.cli.experiment:experiment",
    "gov": "potchain.cli.gov:gov",
    "ledger": "potchain.cli.ledger:ledger",
    "links": "potchain.cli.links:links",
    "plugin": "potchain.cli.plugin:plugin",
    "recover": "potchain.cli.recover:recover",
    "settle": "potchain.cli.settle:settle",
    "sim": "potchain.cli.sim:sim",
    "start": "potchain.cli.node:start",
    "status": "potchain.cli.node:status",
    "testnet": "potchain.cli.testnet:testnet",
    "tx": "potchain.cli.tx:tx",
    "verify": "potchain.cli.proof:verify",
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are asked for; plug-ins are, when a name is none of ours."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, in alphabetical order. A plug-in that cannot be loaded is told, and costs only its own."""
        try:
            return sorted({**_commands_of_plugins(), **COMMANDS})
        except PluginError as fault:
            click.echo(f"potchain: {fault}", err=True)
            return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name. Raises PluginError when a plug-in cannot be loaded."""
        place = COMMANDS.get(cmd_name) or _commands_of_plugins().get(cmd_name)
        if place is None:
            return None
        module, _, attribute = place.partition(":")
        found: click.Command = getattr(importlib.import_module(module), attribute)
        return found

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table of exit codes."""
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), meaning) for code, meaning in EXIT_CODES.items()])


def _commands_of_plugins() -> dict[str, str]:
    from potchain.registry import load_plugins

    places = {name: command.place for name, command in load_plugins().commands.items()}
    taken = sorted(set(places) & set(COMMANDS))
    if taken:
        raise PluginError(
            f"a plug-in offers the command {taken[0]!r}, which the program has itself; see `potchain plugin list`, "
            f"and uninstall that plug-in"
        )
    return places


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="potchain")
def potchain() -> None:
    """A Byzantine-fault-tolerant ledger node.

    \b
    Example:
      potchain testnet init demo-net --validators 4
      potchain testnet start demo-net
    """


def run(arguments: Sequence[str] | None) -> int:
    """Run the program; expected errors become one message on stderr and an exit code of the table."""
    if not __debug__:
        print("potchain: refuses to run under `python -O`: assertions guard its invariants", file=sys.stderr)
        return EXIT_USAGE
    try:
        words = None if arguments is None else list(arguments)
        outcome = potchain.main(args=words, prog_name="potchain", standalone_mode=False)
    except click.ClickException as fault:
        fault.show()
        return EXIT_USAGE
    except (click.Abort, KeyboardInterrupt):
        print("potchain: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except PotchainError as fault:
        print(f"potchain: {fault}", file=sys.stderr)
        return exit_code_of(fault)
    except BrokenPipeError:
        sys.stdout = None  # whoever read our output has gone; the interpreter must not flush it again
        return EXIT_OK
    except OSError as fault:
        print(f"potchain: {fault}", file=sys.stderr)
        return EXIT_NODE
    return outcome if isinstance(outcome, int) else EXIT_OK


def exit_code_of(fault: PotchainError) -> int:
    """The exit code that stands for an error."""
    if isinstance(fault, ClientError):
        return {0: EXIT_UNREACHABLE, 504: EXIT_TIMEOUT}.get(fault.status, EXIT_REFUSED)
    if isinstance(fault, InvalidProof | LedgerCorrupt):
        return EXIT_FAILED
    if isinstance(fault, LedgerError):
        return EXIT_NODE
    if isinstance(fault, SettlementError):
        return _EXIT_OF_SETTLEMENT.get(fault.code, EXIT_REFUSED)
    return EXIT_USAGE if isinstance(fault, ConfigError) else _EXIT_OF_OTHERS.get(type(fault).__name__, EXIT_NODE)


_EXIT_OF_OTHERS = {
    "PluginError": EXIT_USAGE,
    "InvalidTransaction": EXIT_USAGE,
    "CodecError": EXIT_USAGE,
    "ExperimentError": EXIT_USAGE,
    "LinkError": EXIT_USAGE,
    "SchedulerUnreachable": EXIT_UNREACHABLE,
}
"""Where the error's place in the tree does not say it."""

_EXIT_OF_SETTLEMENT = {
    "unreachable": EXIT_UNREACHABLE,
    "not_mined": EXIT_TIMEOUT,
    "not_configured": EXIT_USAGE,
    "wrong_chain": EXIT_USAGE,
    "wrong_contract": EXIT_FAILED,
    "owners_differ": EXIT_FAILED,
}
"""By code of a SettlementError; the others are refusals of the chain or of an endpoint."""
