"""Sphinx: Markdown pages, no network, warnings are errors (`make docs`)."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent

project = "potchain"
author = "The potchain authors"
project_copyright = "The potchain authors"
release = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
nitpicky = True

myst_heading_anchors = 4
myst_links_external_new_tab = False

html_theme = "furo"
html_title = "potchain"
html_static_path = ["_static"]
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}
