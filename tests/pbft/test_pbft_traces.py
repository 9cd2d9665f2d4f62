"""Golden traces of the engine: tests/traces/pbft/*.trace, format in pbft_trace.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from pbft_trace import play, trace_files

FOLDER = Path(__file__).parent.parent / "traces" / "pbft"


@pytest.mark.parametrize("path", trace_files(FOLDER), ids=lambda path: path.stem)
def test_engines_take_the_steps_of_the_trace(path: Path, rewrites_traces: bool) -> None:
    expected = path.read_text(encoding="utf-8")
    played = play(expected)
    if rewrites_traces:
        path.write_text(played, encoding="utf-8")
    else:
        assert played == expected


def test_all_traces_are_found() -> None:
    assert len(trace_files(FOLDER)) >= 17
