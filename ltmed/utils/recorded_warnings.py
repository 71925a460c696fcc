"""Warnings that a run keeps, besides showing them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def recorded_warnings() -> Iterator[list[str]]:
    """Records the text of every UserWarning of the body in the yielded list, and issues them again afterwards."""
    recorded: list[str] = []
    caught: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield recorded
    finally:
        for warning in caught:
            if issubclass(warning.category, UserWarning):
                recorded.append(str(warning.message))
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
