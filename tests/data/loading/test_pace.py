"""The number of loader threads: it grows while that helps, and changes nothing else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from ltmed.data.loading.pace import Pace
from tests.data.loading.test_loader import joined, train, workers


def run(pace: Pace, wait: Callable[[int], float], consumed: float, batches: int = 200) -> list[int]:
    """The numbers of threads that were used, of a machine where a batch with n threads is late by `wait(n)` seconds."""
    used = [pace.threads]
    for _ in range(batches):
        pace.record(wait(pace.threads), consumed)
        if used[-1] != pace.threads:
            used.append(pace.threads)
    return used


def test_threads_that_run_outside_of_the_lock_grow_until_nobody_waits() -> None:
    # A batch is 1.2 s of one core, the step of training 0.2 s: 8 threads have it in 0.15 s.
    assert run(Pace(16), lambda n: max(0.0, 1.2 / n - 0.2), 0.2) == [2, 4, 8]


def test_a_training_that_never_waits_needs_no_more() -> None:
    assert run(Pace(16), lambda _: 0.001, 0.2) == [2]


def test_threads_that_only_pass_the_lock_around_are_taken_back_for_good() -> None:
    assert run(Pace(16), lambda n: 0.1 + 0.01 * n, 0.1) == [2, 4, 2]


@pytest.mark.parametrize(("most", "used"), [(1, [1]), (3, [2, 3]), (6, [2, 4, 6])])
def test_never_more_than_the_cores(most: int, used: list[int]) -> None:
    assert run(Pace(most), lambda n: 1.0 / n, 0.01) == used


def test_a_number_that_was_asked_for_stays() -> None:
    assert run(Pace(5, fixed=True), lambda n: 1.0 / n, 0.01) == [5]


def test_a_loader_changes_its_threads_between_batches_and_its_pixels_not(monkeypatch: pytest.MonkeyPatch) -> None:
    reference = joined(train(threads=1))
    loader = train(threads=None)
    pace = Pace(7)
    loader._stream.pace = pace
    numbers = iter([1, 3, 7, 2, 5] * 100)
    seen: list[int] = []

    def record(waited: float, consumed: float) -> None:
        assert waited >= 0
        assert consumed >= 0
        pace.threads = next(numbers)
        seen.append(len(workers()))

    monkeypatch.setattr(pace, "record", record)
    for actual, expected in zip(joined(loader), reference, strict=True):
        np.testing.assert_array_equal(actual, expected)
    assert len(set(seen)) > 1, "the number of threads did change"
    assert not workers(), "the threads of earlier pools end, too"
