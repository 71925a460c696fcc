"""Fixtures of the figures' tests."""

from __future__ import annotations

import pytest

from tests.plots.cases import LONG, Case, case


@pytest.fixture(params=[2, 23, 198])
def many(request: pytest.FixtureRequest) -> Case:
    return case(request.param, LONG)
