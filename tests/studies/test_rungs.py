"""Candidates and their order, how many a rung can afford, and which of them are best."""

from __future__ import annotations

import itertools

import pytest

from ltmed.config.paths import choices
from ltmed.studies.rungs import Candidate, Rung, affordable, combinations, mean_of, ranked, read, single_changes

REFERENCE = Candidate((("loss", "ce"), ("sampler", "plain")))
GROUPS = {"loss": ["ce", "focal", "ldam"], "sampler": ["balanced", "plain"]}


def of(loss: str, sampler: str) -> Candidate:
    return Candidate((("loss", loss), ("sampler", sampler)))


def test_the_file_of_rungs_grows_in_cost_and_uses_the_whole_budget():
    plan = read()
    assert sum(rung.share for rung in plan.rungs) == pytest.approx(1)
    assert plan.rungs[0].min_epochs is None
    assert all(rung.min_epochs and rung.max_epochs and rung.keep for rung in plan.rungs[1:])
    assert [rung.keep for rung in plan.rungs[1:]] == sorted((rung.keep for rung in plan.rungs[1:]), reverse=True)
    assert all(choices(group) for group in plan.vary)


def test_few_images_have_smaller_batches():
    plan = read()
    assert plan.fitting(plan.small_below) == plan
    fewer = plan.fitting(plan.small_below - 1)
    assert fewer.rungs[0].overrides == plan.rungs[0].overrides_small != plan.rungs[0].overrides
    assert fewer.rungs[1:] == plan.rungs[1:]


def test_single_changes_and_combinations_are_every_candidate_once():
    singles = single_changes(REFERENCE, GROUPS)
    assert singles == [of("focal", "plain"), of("ldam", "plain"), of("ce", "balanced")]
    both = combinations(REFERENCE, dict.fromkeys(singles, 0.0))
    every = {of(loss, sampler) for loss, sampler in itertools.product(*GROUPS.values())}
    assert {REFERENCE, *singles, *both} == every
    assert len(singles) + len(both) + 1 == len(every)


def test_the_most_promising_combinations_come_first_and_those_of_what_cannot_run_not_at_all():
    gains = {of("focal", "plain"): -0.1, of("ldam", "plain"): 0.2, of("ce", "balanced"): 0.1}
    assert combinations(REFERENCE, gains) == [of("ldam", "balanced"), of("focal", "balanced")]
    del gains[of("ldam", "plain")]
    assert combinations(REFERENCE, gains) == [of("focal", "balanced")]


def test_what_a_rung_can_afford():
    rung = Rung("short", "short", (), 0.3, 5, min_epochs=2, max_epochs=10)
    # (5 + 1) x 2 runs of 3 epochs of 10 s and 5 s besides: 12 x 35 s.
    assert affordable(rung, 5, 2, 420, 10, 5) == (5, 3)
    assert affordable(rung, 5, 2, 419, 10, 5) == (5, 2)
    assert affordable(rung, 5, 2, 1e6, 10, 5) == (5, 10)
    # Two epochs of 25 s in all: with 200 s 8 runs, so the reference and three others.
    assert affordable(rung, 5, 2, 200, 10, 5) == (3, 2)
    assert affordable(rung, 5, 2, 99, 10, 5) == (0, 0)


def test_every_affordable_plan_keeps_to_its_time():
    rung = Rung("short", "short", (), 0.3, 5, min_epochs=2, max_epochs=10)
    for seconds, epoch, overhead in itertools.product((50, 333, 1000, 5000), (0.5, 7, 60), (0, 3, 40)):
        number, epochs = affordable(rung, 5, 2, seconds, epoch, overhead)
        if number:
            assert (number + 1) * 2 * (epochs * epoch + overhead) <= seconds + 1e-6
            assert rung.min_epochs <= epochs <= rung.max_epochs


def test_ranks():
    a, b, c, d = (of(name, "plain") for name in "abcd")
    values = {a: [0.9], b: [0.5, 0.7], c: [0.7, 0.4], d: [0.99, None]}
    assert ranked(values, maximise=True) == [b, c, d, a]
    assert ranked(values, maximise=False) == [c, b, d, a]
    assert mean_of([0.5, 0.7]) == pytest.approx(0.6)
    assert mean_of([0.5, None]) is None
    assert mean_of([]) is None
