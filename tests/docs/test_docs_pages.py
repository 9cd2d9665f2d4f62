"""Pages: links resolve, everything is in the table of contents, and what the code offers is documented by name."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

import potchain
from potchain import errors
from potchain.api.problems import PROBLEMS
from potchain.api.routes import ROUTES
from potchain.cli.program import COMMANDS, EXIT_CODES
from potchain.config.sections import SECTIONS
from potchain.consensus.quorum import Quorum
from potchain.genesis import Parameters
from potchain.ledger.database import open_database
from potchain.ledger.migrate import upgrade
from potchain.registry import load_plugins
from potchain.sim.checkers import PROMISES

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)
READMES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)", re.DOTALL)


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def text_of(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def without_code(text: str) -> str:
    return re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)


def anchors(path: Path) -> set[str]:
    """As GitHub and MyST make them of headings."""
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def links(path: Path) -> Iterator[str]:
    for target in LINK.findall(without_code(path.read_text(encoding="utf-8"))):
        if not re.match(r"[a-z]+:", target):
            yield target


@pytest.mark.parametrize("path", [*PAGES, *READMES], ids=named)
def test_links_resolve(path: Path) -> None:
    for target in links(path):
        file, _, anchor = target.partition("#")
        linked = (path.parent / file).resolve() if file else path
        assert linked.exists(), f"{target} is not there"
        assert not anchor or anchor in anchors(linked), f"{target}: no such heading"


def test_every_page_is_in_the_table_of_contents() -> None:
    listed = set()
    for path in (DOCS / "index.md", DOCS / "adr" / "index.md"):
        for tree in re.findall(r"```\{toctree\}\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL):
            entries = [line for line in tree.splitlines() if line and not line.startswith(":")]
            listed |= {(path.parent / f"{entry}.md").resolve() for entry in entries}
    assert listed == {path.resolve() for path in PAGES} - {(DOCS / "index.md").resolve()}


@pytest.mark.parametrize("path", [path for path in PAGES if re.match(r"\d{4}-", path.name)], ids=named)
def test_decisions_follow_the_template(path: Path) -> None:
    headings = re.findall(r"^## (.+)$", path.read_text(encoding="utf-8"), re.M)
    assert headings[0] == "Context"
    assert {"Consequences"} <= set(headings)
    assert re.search(r"^# \d+: ", path.read_text(encoding="utf-8"), re.M)
    assert re.search(r"^Status: ", path.read_text(encoding="utf-8"), re.M)


def test_pages_say_nothing_of_the_machine_they_were_written_on() -> None:
    for path in [*PAGES, *READMES]:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"/(tmp|home|root|work|Users)/", text), f"{named(path)} names a path of a machine"


# --- what exists is documented ----------------------------------------------------------------------------------------


def test_every_setting_and_parameter_is_documented() -> None:
    page = text_of("reference/configuration.md")
    registry = load_plugins()
    tables: dict[str, type[msgspec.Struct]] = dict(SECTIONS)
    tables |= {f"consensus.{name}": factory.options_type for name, factory in registry.engines.items()}
    tables |= {f"transport.{name}": factory.options_type for name, factory in registry.transports.items()}
    tables |= {f"application.{name}": factory.options_type for name, factory in registry.applications.items()}
    for place, struct in tables.items():
        section = page.split(f"# [{place}]\n", 1)
        assert len(section) == 2, f"[{place}] has no heading"
        text = section[1].split("\n#", 1)[0]
        for name in struct.__struct_fields__:
            assert f"| `{name}` |" in text, f"{place}.{name}"
    parameters = page.split("## Parameters of genesis", 1)[1]
    for name in Parameters.__struct_fields__:
        assert f"| `{name}` |" in parameters, name


def test_every_error_and_code_is_documented() -> None:
    page, interface = text_of("reference/errors.md"), text_of("reference/http-api.md")
    for name, value in vars(errors).items():
        if isinstance(value, type) and issubclass(value, errors.PotchainError):
            assert f"| `{name}` |" in page
    for code in EXIT_CODES:
        assert f"| {code} |" in page
    for code in PROBLEMS:
        assert f"| `{code}` |" in interface, code


def test_every_command_public_name_and_route_is_documented() -> None:
    commands, public, interface = (
        text_of(f"reference/{page}.md") for page in ("command-line", "public-api", "http-api")
    )
    for command in COMMANDS:
        assert f"## potchain {command}\n" in commands
    for name in potchain.__all__:
        assert f"### {name}\n" in public
    for route in ROUTES:
        assert f"{route.method} {route.path}" in interface


def test_every_room_is_on_the_map() -> None:
    page = text_of("explanation/architecture.md")
    with (ROOT / "pyproject.toml").open("rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    layers = next(each["layers"] for each in contracts if each["name"] == "Rooms of the core, top to bottom")
    listed = {room.strip(" ()") for layer in layers for room in layer.split("|")} - {"__main__", "testing"}
    table = page.split("## The rooms", 1)[1].split("\n## ", 1)[0]
    for room in listed:
        assert re.search(rf"`{room}/?`", table), f"{room} is not on the map of rooms"
    for room in re.findall(r"`(\w+)/?`", "".join(re.findall(r"^\| (.*?) \|[^|]", table, re.M))):
        if room != "room":
            assert room in listed, f"the map shows {room}, which the layers do not have"


def test_every_file_that_is_named_exists() -> None:
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        for name in re.findall(r"`((?:potchain|plugins|tests|docs|bench|migrations)/[\w./]+)`", text):
            assert (ROOT / name).exists(), f"{named(path)} names {name}"
    for name in re.findall(r"`(\w+/\w+\.py)`", text_of("explanation/architecture.md")):
        assert (ROOT / "potchain" / name).exists(), name


def test_every_log_event_that_is_explained_is_written_somewhere() -> None:
    table = text_of("how-to/operate.md").split("## Logs", 1)[1].split("\n## ", 1)[0]
    events = re.findall(r"^\| `([^`]+)`", table, re.MULTILINE)
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "potchain").rglob("*.py"))
    assert len(events) > 5
    for event in events:
        words = event.removesuffix(" ...").removeprefix("signer: ")
        assert words in sources, f"no log line says {words!r}"


def test_the_glossary_has_every_word_of_the_thresholds() -> None:
    page = text_of("explanation/glossary.md")
    assert all(f"**{word}" in page or f", {word}**" in page for word in ("quorum", "weak quorum", "final", "decided"))
    assert Quorum(4).quorum == 3


# --- examples in SQL --------------------------------------------------------------------------------------------------


def statements() -> list[str]:
    blocks = re.findall(r"```sql\n(.*?)```", text_of("how-to/query-the-ledger.md"), re.DOTALL)
    return [statement.strip() for block in blocks for statement in block.split(";") if statement.strip()]


@pytest.mark.parametrize("statement", statements())
def test_queries_run(statement: str, tmp_path: Path) -> None:
    database = open_database(tmp_path / "ledger.sqlite", role="ledger")
    upgrade(database)
    with database.read() as connection:
        connection.execute(sa.text(statement)).all()
    database.close()


def test_promises_name_tests_that_exist() -> None:
    """The page is a list of promises only if every test on it is one that runs."""
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py"))
    named_tests = set(re.findall(r"`(test_\w+)`", text_of("explanation/promises.md")))
    assert len(named_tests) > 50
    assert not {name for name in named_tests if f"def {name}(" not in sources}
    checkers = set(re.findall(r"checkers? `([^`]+)`", text_of("explanation/promises.md")))
    assert checkers <= set(PROMISES)
