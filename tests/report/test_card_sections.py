"""Sentences and tables of a card that need no trained run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

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


def test_a_class_whose_code_is_its_name_is_named_once():
    rows = [{"class": "MEL", "name": "melanoma", "tier": "head"}, {"class": "scar", "name": "scar", "tier": "tail"}]
    metrics = {"split": {"counts": {"train": {"MEL": 1200, "scar": 3}}}, "test": {"per_class": rows}}
    found = card._counts(metrics).rows
    assert [name for name, _ in found] == ["MEL, melanoma", "scar"]
    assert [[cell.text for cell in cells] for _, cells in found] == [["head", "1,200"], ["tail", "3"]]
