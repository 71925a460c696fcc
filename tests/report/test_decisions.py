"""Pages of `ltmed decide` and `ltmed evaluate` from plain results, without a run."""

from __future__ import annotations

from typing import Any

import pytest

from ltmed.report.decisions.cells import threshold
from ltmed.report.decisions.decide import decision_document, point_grid
from ltmed.report.decisions.subgroups import subgroup_grids


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.4321, "0.432"), (0.0, "0.000"), (1.0000000000000002, "1.000"), (0.000412, "0.00041"),
        (0.99997, "0.999970"), (3.2e-9, "3.2e-09"),
    ],
)  # fmt: skip
def test_a_threshold_is_not_rounded_to_all_or_none(value, text):
    """At 0.000 every image is positive, at 1.000 hardly any: 90 % sensitivity of a rare class needs 0.00041."""
    assert threshold(value).text == text


def test_intervals_of_thresholds_have_the_same_digits():
    assert threshold(0.002, [0.00035, 0.4]).small == "0.00035 to 0.400"
    assert not threshold(0.002, [None, None]).small


@pytest.mark.parametrize(
    ("criterion", "target", "attained", "said"),
    [("youden", None, "75.0", True), ("sensitivity", 0.7, "75.0", False), ("specificity", 0.8, "82.5", False)],
)
def test_what_a_threshold_attains_is_named(criterion, target, attained, said):
    """Of Youden's index the column shows the sensitivity, which a reader may take for the index (57.5)."""
    rates = {"sensitivity": {"value": 0.75, "interval": None}, "specificity": {"value": 0.825, "interval": None}}
    row = {
        "class": "a", "criterion": criterion, "target": target, "threshold": 0.5, "threshold_interval": None,
        "validation": {"positives": 8, "negatives": 40, **rates}, "test": None,
    }  # fmt: skip
    grid = point_grid([row])
    assert dict(zip(grid.headings, grid.rows[0][1], strict=True))["attained on validation"].text == attained
    assert any("attained is its sensitivity" in note for note in grid.notes) == said


def decided(unit: str) -> dict[str, Any]:
    rate = {"value": 0.5, "interval": [0.25, 0.75]}
    kind = {"score": "lac", "condition": "pooled", "coverage": rate, "mean_size": rate, "empty": 0.0, "tiers": {},
            "classes": [{"coverage": rate, "own": True}]}  # fmt: skip
    return {
        "run": {"name": "n"}, "on": "its test part", "own": True, "images": 9, "unit": unit, "resamples": 1000,
        "points": [], "costs": None, "sets": {"target": 0.9, "validation": [20], "kinds": [kind]},
        "calibration": {
            "temperature": 1.0, "validation_images": 20, "few": {}, "classes": [],
            **{when: dict.fromkeys(("ece", "classwise_ece", "brier", "nll"), rate) for when in ("before", "after")},
        },
    }  # fmt: skip


@pytest.mark.parametrize(("unit", "said"), [("image", False), ("lesion", True)])
def test_a_promise_for_images_of_lesions_is_qualified(unit, said):
    page = decision_document(decided(unit), ("a",))
    (sets,) = (grid for grid in page.grids if grid.title.startswith("Sets"))
    assert any("those of one lesion are alike" in note for note in sets.notes) == said
    assert f"1,000 bootstrap resamples of {unit}s" in page.notes[0]
    assert "of thresholds 200 resamples of the validation part" in page.notes[0]


@pytest.mark.parametrize(
    ("metric", "value", "gap"),
    [("mcc", "0.451", "0.102"), ("macro_ece", "0.451", "0.102"), ("accuracy", "45.1", "10.2")],
)
def test_subgroups_have_the_unit_of_the_page(metric, value, gap):
    """Which says that figures are percent, but kappa, MCC and calibration."""
    groups = [{"value": site, "images": 40, "units": 40, "metric": 0.4512, "interval": [0.2, 0.6]} for site in "ab"]
    report = {
        "attribute": "site", "metric": metric, "subgroups": groups, "withheld": 0, "left_out": [],
        "gap": {"best": "a", "worst": "b", "difference": 0.1024, "interval": [0.05, 0.15], "simultaneous_p": 0.02,
                "no_p": "", "classes": []},
    }  # fmt: skip
    (grid,) = subgroup_grids([report])
    assert [cells[2].text for _, cells in grid.rows] == [value, value]
    assert f"Largest gap {gap}, a over b (95 % " in grid.notes[0]
