"""The wheel: everything that is needed at run time is inside, nothing else is."""

import zipfile
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
from hatchling.build import build_wheel

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    folder = tmp_path_factory.mktemp("wheel")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        name = build_wheel(str(folder))
    with zipfile.ZipFile(folder / name) as archive:
        yield archive


def test_the_packages_are_these(wheel: zipfile.ZipFile) -> None:
    packages = {name.split("/")[0] for name in wheel.namelist() if ".dist-info" not in name}
    plugins = {"potchain_pbft", "potchain_fpbft", "potchain_tcp", "potchain_multisig"}
    assert packages == {"potchain", "potchain_migrations"} | plugins


def test_every_module_of_the_checkout_is_inside(wheel: zipfile.ZipFile) -> None:
    inside = set(wheel.namelist())
    for folder in (ROOT, ROOT / "plugins", ROOT / "migrations"):
        for package in folder.glob("potchain*"):
            for path in package.rglob("*.py"):
                assert str(path.relative_to(folder)) in inside


def test_types_are_marked(wheel: zipfile.ZipFile) -> None:
    for package in ("potchain", "potchain_pbft", "potchain_tcp"):
        assert f"{package}/py.typed" in wheel.namelist()


def test_contracts_and_what_fetches_the_local_chain_are_inside(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    assert {f"potchain_multisig/artifacts/{contract}.json" for contract in ("PotSettlement", "PotBook")} <= names
    fetched = ("package.json", "package-lock.json", "npmrc")
    assert {f"potchain_multisig/devnet_packages/{name}" for name in fetched} <= names


def test_migrations_are_inside(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    assert "potchain_migrations/env.py" in names
    assert [name for name in names if name.startswith("potchain_migrations/versions/0001")]


def test_entry_points_and_licence(wheel: zipfile.ZipFile) -> None:
    entry_points = next(name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    text = wheel.read(entry_points).decode()
    assert "potchain = potchain.cli:main" in text
    assert "pbft = potchain_pbft" in text
    assert "tcp = potchain_tcp" in text
    assert [name for name in wheel.namelist() if name.endswith("licenses/LICENSE")]


def test_the_installed_migrations_are_found_as_files() -> None:
    assert [entry.name for entry in (files("potchain_migrations") / "versions").iterdir()]
