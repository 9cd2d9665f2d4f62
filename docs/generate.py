"""Writes the pages of the reference that follow from the code: python docs/generate.py [--check].

The pages are committed, so that they can be read without running anything, and a test runs `--check`, so that they
never say what the code does not. Each module of `generators` makes one page; nothing in them depends on the
machine.
"""

import sys
from pathlib import Path

from generators import (
    bounds,
    command_line,
    configuration,
    contract,
    errors,
    fpbft_report,
    gas,
    messages,
    public_api,
    schema,
)

REFERENCE = Path(__file__).parent / "reference"
NOTE = "<!-- Written by docs/generate.py. Change the code, or docs/generators, and run it again. -->\n\n"
PAGES = {
    "bounds.md": bounds.page,
    "command-line.md": command_line.page,
    "configuration.md": configuration.page,
    "contract.md": contract.page,
    "errors.md": errors.page,
    "fpbft-report.md": fpbft_report.page,
    "gas.md": gas.page,
    "messages.md": messages.page,
    "public-api.md": public_api.page,
    "schema.md": schema.page,
}


def main(arguments: list[str]) -> int:
    stale = []
    for name, page in PAGES.items():
        path = REFERENCE / name
        text = NOTE + page().rstrip() + "\n"
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if "--check" not in arguments:
            path.write_text(text, encoding="utf-8")
    if not stale:
        print("every page is fresh")
        return 0
    if "--check" in arguments:
        print(f"stale: {', '.join(stale)}; run: python docs/generate.py")
        return 1
    print(f"written: {', '.join(stale)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
