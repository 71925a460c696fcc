"""Which rung of a search is recommended from."""

from __future__ import annotations

import pytest

from ltmed.report.recommendation import final_standing
from ltmed.studies.halving import Standing
from ltmed.studies.rungs import Candidate, Rung

REFERENCE, OTHER = Candidate((("loss", "ce"),)), Candidate((("loss", "focal"),))


def standing(name: str, reference: list[float | None], other: list[float | None]) -> Standing:
    values = {REFERENCE: reference, OTHER: other}
    order = [OTHER, REFERENCE] if other else [REFERENCE]
    return Standing(
        Rung(name, name, (), 0.5, None), values={one: them for one, them in values.items() if them}, order=order
    )


@pytest.mark.parametrize(
    ("probes", "long", "metric", "expected"),
    [
        (([0.7, 0.7], [0.9, 0.9]), ([0.8, 0.8], [0.95, 0.95]), "balanced_accuracy", "long"),
        (([0.7, 0.7], [0.9, 0.9]), ([0.8, 0.8], [0.85, 0.85]), "balanced_accuracy", "probes"),
        (([0.7, 0.7], [0.9, 0.9]), ([0.7, 0.7], [0.9, 0.9]), "balanced_accuracy", "long"),  # Of equals the later.
        (([0.7, 0.7], [0.5, 0.5]), ([0.6, 0.6], [0.4, 0.4]), "ece", "long"),  # Less is better.
        (([0.5, 0.5], [0.6, 0.9]), ([0.6], [0.7]), "balanced_accuracy", "long"),  # One repetition that both have.
        (([0.7, 0.7], [0.9, 0.9]), ([0.95, 0.95], []), "balanced_accuracy", "probes"),  # Nothing was compared in long.
        (([0.7, 0.7], [None, None]), ([0.1, 0.1], [0.2, 0.2]), "balanced_accuracy", "long"),
    ],
)
def test_the_rung_whose_best_is_best(probes, long, metric, expected):
    standings = [standing("probes", *probes), standing("long", *long)]
    assert final_standing(standings, metric).rung.name == expected


def test_without_a_comparison_it_is_the_last_rung_that_ran():
    standings = [standing("probes", [0.5], []), Standing(Rung("long", "long", (), 0.5, 2))]
    assert final_standing(standings, "balanced_accuracy").rung.name == "probes"
