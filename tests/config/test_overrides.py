"""Values written for Hydra are those that Hydra reads."""

from __future__ import annotations

import pytest

from ltmed.config.overrides import quoted, values


@pytest.mark.parametrize(
    "value",
    [
        r"patient(\d+)[a-z]", "C:\\Users\\me", "it's", "a, b", "ends in \\", r"two \\ and \\", r"\'", r"\\'x'",
        "{a: [1]}", 'say "no"', "plain/path-1.0",
    ],
)  # fmt: skip
def test_hydra_reads_a_quoted_value_as_it_was(value):
    assert values(f"dataset.group_pattern={quoted(value)}") == [value]
