"""Which rung of a search is recommended from, and what its page says of a comparison that the budget cut short."""

from __future__ import annotations

from pathlib import Path

import pytest

from ltmed.report.recommendation import Recommendation, final_standing, page
from ltmed.report.renderers import markdown
from ltmed.studies.budget import Budget
from ltmed.studies.halving import Standing
from ltmed.studies.rungs import Candidate, Rung
from ltmed.studies.trials import State
from tests.report import factory

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


def test_a_rung_that_was_cut_short_counts_with_what_was_compared():
    """On both repetitions the probes would have 0.5, and the later rung would be recommended from."""
    probes = standing("probes", [0.7, 0.7], [0.9, 0.1])
    probes.compared = 1
    assert final_standing([probes, standing("long", [0.7, 0.7], [0.8, 0.8])], "balanced_accuracy").rung.name == "probes"


def recommendation(tmp_path: Path, probes: Standing) -> Recommendation:
    runs = {
        one: [factory.write(tmp_path, one.label, seed=seed) for seed in range(len(values))]
        for one, values in probes.values.items()
    }
    return Recommendation([probes], REFERENCE, runs, "balanced_accuracy")


@pytest.mark.parametrize("cut_short", [True, False])
def test_the_page_says_that_the_repetition_was_cut_short(tmp_path, cut_short):
    probes = standing("probes", [0.5, 0.5], [0.9])
    probes.compared, probes.is_cut_short = (1, True) if cut_short else (None, False)
    document = page(recommendation(tmp_path, probes), "Title", "command", "plain", State(), Budget(60))
    sentence = (
        "probes: the budget ended before all repetitions were trained, so candidates are compared on the first one "
        "alone. A larger --budget has room for them."
    )
    assert (sentence in markdown.render(document).replace("\\", "")) == cut_short


@pytest.mark.parametrize(
    ("other", "start"), [([0.4, 0.4], "Nothing that was tried"), ([0.9], "No candidate with as many repetitions")]
)
def test_the_verdict_claims_no_more_than_was_compared(tmp_path, other, start):
    probes = standing("probes", [0.5, 0.5], other)
    probes.order = [REFERENCE, OTHER]
    assert recommendation(tmp_path, probes).verdict() == (
        f"{start} has a better balanced accuracy on the validation images than the reference (ce): stay with it."
    )
