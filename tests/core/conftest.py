"""Hypothesis draws the same examples in every run, and a busy machine fails nothing."""

from hypothesis import settings

settings.register_profile("core", derandomize=True, deadline=None)
settings.load_profile("core")
