"""Structured logs: readable lines on a terminal, one JSON object per line elsewhere. To standard error."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import structlog

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure_logs(
    format_: Literal["auto", "human", "json"], level: Literal["debug", "info", "warning", "error"]
) -> None:
    """Set up structlog for this process. "auto": human on a terminal, JSON elsewhere."""
    human = format_ == "human" or (format_ == "auto" and sys.stderr.isatty())
    renderer: structlog.types.Processor = (
        structlog.dev.ConsoleRenderer() if human else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=_to_standard_error,
        # A cached logger would keep this configuration and this stream for as long as the process lives, under
        # `without_logs` too.
        cache_logger_on_first_use=False,
    )


@contextmanager
def without_logs() -> Iterator[None]:
    """Log lines go nowhere: of simulated nodes, and of those of experiments."""
    before = structlog.get_config()
    structlog.configure(processors=[_drop], cache_logger_on_first_use=False)
    try:
        yield
    finally:
        structlog.configure(**before)


def _to_standard_error(*_: object) -> structlog.PrintLogger:
    return structlog.PrintLogger(sys.stderr)


def _drop(logger: object, name: str, event: Any) -> Any:  # noqa: ANN401 - structlog's own signature
    raise structlog.DropEvent
