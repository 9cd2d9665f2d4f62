"""Runs the commands of a page in one shell, as a reader would, and gives back what they print.

`python tests/settlement_transcript.py PAGE` writes the page anew with what was printed.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)
START_TENTHS = 300
"""Tenths of a second that the chain may take to start."""


def commands_of(page: str) -> list[tuple[str, str]]:
    """Every command of the page with the output that the page shows."""
    found: list[tuple[str, str]] = []
    for block in BLOCK.findall(page):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], ""))
            else:
                command, shown = found[-1]
                found[-1] = (command, f"{shown}{line}\n")
    return found


def run_page(page: str, folder: Path) -> list[str]:
    """What each command printed, in order. Raises AssertionError when one fails."""
    script = ["set -e", "trap 'test -z \"$CHAIN\" || kill $CHAIN' EXIT"]
    for number, (command, _) in enumerate(commands_of(page)):
        if command.endswith(" &"):
            script += [
                f"{command[:-2]} --port 0 > out.{number} &",
                "CHAIN=$!",
                f"for _ in $(seq {START_TENTHS}); do grep -q coins out.{number} && break; sleep 0.1; done",
                f"POTCHAIN_RPC_URL=$(sed -n 's/^URL *//p' out.{number})",
                "export POTCHAIN_RPC_URL",
            ]
        elif command.startswith("INDEX="):
            script += [f"INDEX=$(sed -n 's/^index *//p' out.{number - 1})", f': > out.{number}']
        else:
            script.append(f"{command} > out.{number}")
    environment = dict(os.environ, PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    run = subprocess.run(
        ["sh", "-c", "\n".join(script)], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return [(folder / f"out.{number}").read_text(encoding="utf-8") for number in range(len(commands_of(page)))]


def rewritten(page: str, printed: list[str]) -> str:
    """The page with other output."""
    outputs = iter(printed)
    index = "".join(re.findall(r"^index +(0x\w+)$", "".join(printed), re.MULTILINE)[:1])

    def block(match: re.Match[str]) -> str:
        lines = [line for line in match[1].splitlines() if line.startswith("$ ")]
        return "```console\n" + "".join(f"{line}\n{next(outputs)}" for line in lines) + "```"

    shown = re.sub(r"(\$ INDEX=)\w+", rf"\g<1>{index}", BLOCK.sub(block, page))
    return re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:8545", shown)


if __name__ == "__main__":
    path = Path(sys.argv[1])
    text = path.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as made:
        path.write_text(rewritten(text, run_page(text, Path(made))), encoding="utf-8")
