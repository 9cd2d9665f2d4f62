"""The names that plug-ins may import: one sorted list, complete, and cheap to import."""

import subprocess
import sys
from types import ModuleType

import potchain


def test_all_is_sorted_and_complete() -> None:
    public = {
        name
        for name, value in vars(potchain).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert set(potchain.__all__) == public
    assert list(potchain.__all__) == sorted(potchain.__all__)


def test_every_name_is_explained() -> None:
    for name in potchain.__all__:
        value = getattr(potchain, name)
        if isinstance(value, type) or callable(value):
            assert getattr(value, "__doc__", None), f"{name} has no docstring"


def test_importing_it_pulls_in_no_server_and_no_database() -> None:
    heavy = ["aiohttp", "asyncio", "sqlalchemy", "alembic", "click", "rich", "structlog"]
    code = f"import sys, potchain; print([name for name in {heavy} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
