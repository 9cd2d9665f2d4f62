"""`potchain links` and the table [links], without processes: what is sent, what is shown, what is refused."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from api_browser import serving
from api_node import PaperNode
from click.testing import CliRunner, Result

from potchain.cli.program import potchain, run
from potchain.config import load_config
from potchain.errors import LinkError
from potchain.links import OFF, LinkProfile
from potchain.node import link_conditions
from potchain.registry import load_plugins

MS = 1_000_000


def asked(node: PaperNode, *calls: list[str]) -> list[Result]:
    """Each call against a real server of this node."""

    async def ask() -> list[Result]:
        async with serving(node) as browser:
            return [
                await asyncio.to_thread(CliRunner().invoke, potchain, ["links", *call, "--node", browser.url])
                for call in calls
            ]

    return asyncio.run(ask())


def test_conditions_by_options_are_set_shown_and_taken_off() -> None:
    node = PaperNode()
    node.takes_links = True
    changed, shown, again, off = asked(
        node,
        ["set", "--bandwidth-mbps", "25", "--shared", "--latency-ms", "40", "--jitter-ms", "5", "--loss", "0.01"],
        ["show"],
        ["show", "--json"],
        ["set", "--off", "--json"],
    )
    assert changed.exit_code == 0, changed.output
    assert "in force" in changed.output
    for words in ("bandwidth_mbps   25.0", "bandwidth_model  shared", "jitter_ms        5.0", "links.control: true"):
        assert words in shown.output
    assert json.loads(again.output)["conditions"]["distribution"] == "jitter"
    assert json.loads(off.output)[0]["off"] is True
    assert node.profile.off


def test_conditions_from_a_file_with_a_table_of_regions_beside_it(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text(",eu,us\neu,1,40\nus,41,1\n", encoding="utf-8")
    (tmp_path / "table.toml").write_text(
        '[links]\nregion_matrix = "mine.csv"\n[links.regions]\nv0 = "eu"\nv1 = "us"\n', encoding="utf-8"
    )
    (tmp_path / "bare.toml").write_text(
        'region_matrix = "mine.csv"\n[regions]\nv0 = "eu"\nv1 = "us"\n[[rules]]\nfrom = "us"\nloss = 0.5\n',
        encoding="utf-8",
    )
    node = PaperNode()
    node.takes_links = True
    for name, loss in (("table.toml", 0), ("bare.toml", 500_000)):
        changed, shown = asked(node, ["set", "--file", str(tmp_path / name)], ["show"])
        assert changed.exit_code == 0, changed.output
        assert node.profile.conditions(0, "v0", "v1").latency_ns == 40 * MS
        assert node.profile.conditions(0, "v1", "v0").loss_ppm == loss
        assert "40.0" in shown.output


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["set"], 2, "one of the three"),
        (["set", "--off", "--loss", "0.5"], 2, "one of the three"),
        (["set", "--latency-ms", "nan"], 2, "links.latency_ms is nan"),
        (["set", "--distribution", "normal"], 2, "'normal' is not one of"),
        (["set", "--shared"], 2, "bandwidth_mbps is 0"),
        (["set", "--off"], 4, "links_locked"),
    ],
)
def test_mistakes_have_an_exit_code(
    words: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async def ask() -> int:
        async with serving(PaperNode()) as browser:
            return await asyncio.to_thread(run, ["links", *words, "--node", browser.url])

    assert asyncio.run(ask()) == code
    assert message in capsys.readouterr().err


def test_several_nodes_change_together_or_it_is_said_which_did(capsys: pytest.CaptureFixture[str]) -> None:
    willing, locked = PaperNode(), PaperNode()
    willing.takes_links = True

    async def ask(*more: str) -> int:
        async with serving(willing) as one, serving(locked) as other:
            urls = {"locked": other.url, "gone": "http://127.0.0.1:1"}
            nodes = [word for name in more for word in ("--node", urls[name])]
            return await asyncio.to_thread(run, ["links", "set", "--latency-ms", "7", "--node", one.url, *nodes])

    assert asyncio.run(ask("gone")) == 3
    assert willing.profile.off, "one does not answer: nothing was changed anywhere"
    capsys.readouterr()
    assert asyncio.run(ask("locked")) == 4
    assert not willing.profile.off
    said = capsys.readouterr().err
    assert "in force at http://127.0.0.1:" in said
    assert "; not at http://127.0.0.1:" in said


@pytest.mark.parametrize("text", ["= 3", "[links]\nloss = 0.1\n[api]\nport = 3\n", "[links]\nloss = -1\n"])
def test_an_unusable_file_is_refused(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "conditions.toml"
    path.write_text(text, encoding="utf-8")
    assert run(["links", "set", "--file", str(path)]) == 2
    assert "potchain: " in capsys.readouterr().err


# --- the table [links] ------------------------------------------------------------------------------------------------


def home(folder: Path, text: str) -> Path:
    (folder / "potchain.toml").write_text(text, encoding="utf-8")
    return folder


def conditions(folder: Path, text: str, environment: dict[str, str] | None = None) -> tuple[LinkProfile, str]:
    config = load_config(home(folder, text), environment or {})
    engine = load_plugins().engine(config.consensus.engine)
    return link_conditions(config, engine, ("node0", "node1"))


FPBFT = '[consensus]\nengine = "fpbft"\n[consensus.fpbft]\nlatency_ns = 9_000_000\n'


def test_links_win_over_the_engine_and_nothing_is_off(tmp_path: Path) -> None:
    assert conditions(tmp_path, "") == (OFF, "none")
    assert conditions(tmp_path, '[consensus]\nengine = "fpbft"\n') == (OFF, "none")
    profile, source = conditions(tmp_path, FPBFT)
    assert (profile.conditions(0, "node0", "node1").latency_ns, source) == (9 * MS, "engine")
    own = '[links]\nlatency_ms = 2\n[[links.rules]]\nto = "node1"\nloss = 0.5\n'
    profile, source = conditions(tmp_path, FPBFT + own)
    assert (profile.conditions(0, "node0", "node1").latency_ns, source) == (2 * MS, "links")
    assert profile.conditions(0, "node0", "node1").loss_ppm == 500_000
    profile, source = conditions(tmp_path, "", {"POTCHAIN_LINKS_BANDWIDTH_MBPS": "3"})
    assert profile.conditions(0, "node0", "node1").bandwidth_bits_per_s == 3_000_000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[links]\nlatncy_ms = 1\n", "did you mean 'latency_ms'"),
        ("[links]\nloss = nan\n", r"links\.loss is nan"),
        ('[[links.rules]]\nfrom = "node0"\ndelay = 1\n', r"links\.rules\[0\] has no key 'delay'"),
        ('[links]\nregion_matrix = "gone.csv"\n[links.regions]\nnode0 = "eu"\n', r"cannot read .*gone\.csv"),
        ('[[links.rules]]\nfrom = "nod0"\nloss = 0.1\n', r"'nod0', neither a node nor a region in use .*'node0'"),
    ],
)
def test_mistakes_in_the_table_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(LinkError, match=message):
        conditions(tmp_path, text)


def test_config_show_lists_links(tmp_path: Path) -> None:
    text = '[links]\nlatency_ms = 4\n[[links.rules]]\nto = "node1"\nloss = 0.5\n'
    result = CliRunner().invoke(potchain, ["config", "show", "--home", str(home(tmp_path, text)), "--json"])
    shown = {entry["key"]: entry for entry in json.loads(result.output)}
    assert shown["links.latency_ms"] == {"key": "links.latency_ms", "value": 4.0, "source": "potchain.toml"}
    assert shown["links.rules"]["value"] == [{"to": "node1", "loss": 0.5}]
    assert shown["links.control"]["value"] is False
