"""What the extra `experiment` of this distribution brings, and one clear message when it is missing.

numpy, pyarrow, matplotlib and distributed are large, and a node needs none of them; so nobody imports them at the top
of a module that the command line loads.
"""

from __future__ import annotations

import importlib

from potchain.errors import ExperimentError


def require(what: str, *modules: str) -> None:
    """Import these modules of the extra. Raises ExperimentError that says what needs them and how to install them."""
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as fault:
            raise ExperimentError(
                f"{what} needs {module.partition('.')[0]}, which cannot be imported ({fault}); "
                f"run: pip install 'potchain[experiment]'"
            ) from None
