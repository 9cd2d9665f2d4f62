"""Logs go where standard error is now, or nowhere while asked so, whatever was logged and configured before."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator

import pytest
import structlog

from potchain.logs import configure_logs, without_logs


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def test_a_logger_that_was_used_follows_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    log = structlog.get_logger("module level")
    first, second = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", first)
    configure_logs("json", "info")
    log.info("one")
    first_lines = first.getvalue().splitlines()
    first.close()
    monkeypatch.setattr(sys, "stderr", second)
    log.info("two")
    assert ['"one"' in line for line in first_lines] == [True]
    assert ['"two"' in line for line in second.getvalue().splitlines()] == [True]


def test_a_logger_that_was_used_is_silent_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    log = structlog.get_logger("module level")
    configure_logs("json", "info")
    log.info("heard")
    with without_logs():
        log.info("not heard")
    log.info("heard again")
    assert [line.split('"event": ')[1].split(",")[0] for line in capsys.readouterr().err.splitlines()] == [
        '"heard"',
        '"heard again"',
    ]
