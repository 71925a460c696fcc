"""Sentences and tables of a card that need no trained run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf

from ltmed.report import card, card_sections


def run(values: dict[str, float | None], multilabel: bool) -> Any:
    key = "auroc" if multilabel else "recall"
    rows = [{"class": code, key: value} for code, value in values.items()]
    return SimpleNamespace(multilabel=multilabel, metrics={"test": {"per_class": rows}})


@pytest.mark.parametrize(
    ("values", "multilabel", "said"),
    [
        ({"a": 0.0, "b": 0.5, "c": 0.0, "d": None}, False, "The worst classes are a, c: 0.0 % of their test images"),
        ({"a": 0.25, "b": 0.5}, False, "The worst class is a: 25.0 % of its test images"),
        ({"a": 0.75, "b": 0.625}, True, "The worst label is b: AUROC 62.5 %"),
    ],
)
def test_all_classes_that_are_recognised_worst_are_named(values, multilabel, said):
    (sentence,) = card_sections._worst(run(values, multilabel))
    assert sentence.startswith(said)


@pytest.mark.parametrize(
    ("kept", "early_stopping", "said"),
    [
        (("best",), None, True),
        (("last", "best"), None, True),
        (("last",), None, False),
        (("last", "last"), None, False),
        (("last",), 5, True),
        (("last", "last"), {"s1": 5}, True),
    ],
)
def test_the_checkpoint_was_chosen_by_the_validation_part_only_where_it_was(kept, early_stopping, said):
    stages = {f"s{number}": {"keep": keep} for number, keep in enumerate(kept)}
    config = OmegaConf.create(
        {
            "method": {"stages": stages},
            "finetune": {"early_stopping": early_stopping},
            "monitor": "ece",
            "monitor_mode": "min",
        }
    )
    intervals = {"level": 0.95, "resamples": 9, "units": 5, "unit": "image", "scalars": {"mcc": [0.25, 0.75]}}
    one: Any = SimpleNamespace(
        config=config,
        metrics={"test": {"scalars": {"mcc": 0.5}, "intervals": intervals}, "val": {"scalars": {"mcc": 0.625}}},
    )
    grid = card_sections._scalars(one)
    assert [[cell.text for cell in cells] for _, cells in grid.rows] == [["50.0", "62.5"]]
    assert any("chosen by the validation part" in note for note in grid.notes) == said
    expected = ["best epoch"] if "best" in kept else []
    expected += [] if early_stopping is None else ["early end" if len(kept) == 1 else "early end of stage s1"]
    rows = card_sections.selection(one)
    assert [name for name, _ in rows] == expected
    assert all("lowest" in text or "after 5 epochs without a lower" in text for _, text in rows)


def test_a_class_whose_code_is_its_name_is_named_once():
    rows = [{"class": "MEL", "name": "melanoma", "tier": "head"}, {"class": "scar", "name": "scar", "tier": "tail"}]
    metrics = {"split": {"counts": {"train": {"MEL": 1200, "scar": 3}}}, "test": {"per_class": rows}}
    found = card._counts(metrics).rows
    assert [name for name, _ in found] == ["MEL, melanoma", "scar"]
    assert [[cell.text for cell in cells] for _, cells in found] == [["head", "1,200"], ["tail", "3"]]


def test_a_label_without_training_images_is_named_and_in_no_ratio():
    counts = {"N": 90, "G": 0, "M": 4, "H": 0}
    metrics = {
        "run": {"dataset": "toy"}, "skipped": [], "split": {"counts": {"train": counts}, "group": "patient"},
    }  # fmt: skip
    said = dict(card._data(metrics))
    assert said["imbalance"].startswith("22.5 : 1,")
    assert said["not trained"].startswith("G, H: no training image")
    metrics["split"]["counts"]["train"] = {"N": 90, "M": 4}
    assert "not trained" not in dict(card._data(metrics))
