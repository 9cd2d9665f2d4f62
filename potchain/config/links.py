"""Network conditions of a node: the table [links], the file of region latencies beside it, and the one that ships.

`potchain.links` knows text and numbers only; files are read here.
"""

from __future__ import annotations

from collections.abc import Collection
from importlib.resources import files
from pathlib import Path

import msgspec

from potchain.errors import LinkError
from potchain.links import LinkProfile, LinkSpec, link_profile
from potchain.links.regions import MATRIX_CHARACTERS_MAX, parse_matrix

CLOUD = "cloud"
"""As `region_matrix`: the latencies between cloud regions that ship with potchain."""
CLOUD_FILE = "cloud_regions.csv"


def cloud_matrix() -> str:
    """The text of the table that ships; its comments say where the numbers are from."""
    return files("potchain.links").joinpath(CLOUD_FILE).read_text(encoding="utf-8")


def cloud_regions() -> tuple[str, ...]:
    """Names of its regions."""
    return parse_matrix(cloud_matrix()).names


def with_matrix(spec: LinkSpec, folder: Path | None, at: str = "links") -> LinkSpec:
    """The same with the text of the table of regions instead of its name.

    `folder`: what a file's name is relative to; None: files are not read, and what is no name is the text itself.
    Raises LinkError for a file that cannot be read.
    """
    named = spec.region_matrix
    if named == CLOUD:
        return msgspec.structs.replace(spec, region_matrix=cloud_matrix())
    if not named or "\n" in named:
        return spec
    if folder is None:
        raise LinkError(f"{at}.region_matrix is {named!r}; possible are 'cloud', or the text of a table itself")
    path = folder / named
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(MATRIX_CHARACTERS_MAX + 1)
    except (OSError, UnicodeDecodeError) as fault:
        raise LinkError(
            f"{at}.region_matrix: cannot read {path}: {getattr(fault, 'strerror', '') or fault}; write the name of a "
            "file of comma-separated latencies, or 'cloud' for the table that ships"
        ) from None
    return msgspec.structs.replace(spec, region_matrix=text)


def profile_of(
    spec: LinkSpec, folder: Path | None, names: Collection[str] | None = None, at: str = "links"
) -> LinkProfile:
    """The profile that a table describes. Raises LinkError; see `with_matrix` and `potchain.links.link_profile`."""
    return link_profile(with_matrix(spec, folder, at), names, at)
