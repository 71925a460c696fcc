"""Multi-label numbers against scikit-learn on the known entries of copied rows."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from ltmed.errors import UserError
from ltmed.evaluation import bootstrap as module
from ltmed.evaluation.bootstrap import bootstrap, resample_weights
from ltmed.evaluation.metrics import Evaluation
from ltmed.evaluation.multilabel import MultilabelScorer
from ltmed.evaluation.operating_points import label_thresholds
from ltmed.evaluation.scalars import MULTILABEL_SCALARS, PER_LABEL
from ltmed.evaluation.scoring import report_of

TIERS = {"head": [0, 1], "medium": [2], "tail": [3, 4]}
THRESHOLDS = np.array([0.5, 0.3, 0.6, 0.25, 0.7])


def make(images: int = 150, seed: int = 0, decimals: int | None = None, unknown: float = 0.2) -> Evaluation:
    rng = np.random.default_rng(seed)
    targets = (rng.random((images, 5)) < [0.5, 0.4, 0.2, 0.1, 0.05]).astype(np.float32)
    scores = 1 / (1 + np.exp(-rng.normal(size=targets.shape) - targets))
    scores = scores if decimals is None else scores.round(decimals)
    targets[rng.random(targets.shape) < unknown] = np.nan
    return Evaluation(
        torch.tensor(scores, dtype=torch.float32), torch.tensor(targets), torch.arange(images), tuple("ABCDE")
    )


def mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else math.nan


def macro_ap(e: Evaluation, rows: np.ndarray) -> float:
    """Of one resample, copied out row by row; labels without both kinds left out."""
    targets, scores = e.labels.numpy()[rows], e.probabilities.numpy()[rows]
    kinds = [(targets[known, k], scores[known, k]) for k, known in enumerate(~np.isnan(targets.T))]
    return mean([sk.average_precision_score(y, s) for y, s in kinds if 0 < y.sum() < len(y)])


def slow(e: Evaluation, rows: np.ndarray) -> dict[str, float]:
    """One resample, copied out row by row; labels without both kinds left out of averages."""
    targets, scores = e.labels.numpy()[rows], e.probabilities.numpy()[rows]
    known = ~np.isnan(targets)
    table: dict[str, dict[int, float]] = {name: {} for name in (*PER_LABEL, "f1_at_half")}
    pooled: dict[str, list[np.ndarray]] = {"truth": [], "chosen": [], "half": []}
    for k in range(5):
        y, s = targets[known[:, k], k].astype(int), scores[known[:, k], k]
        selected, half = s >= np.float32(THRESHOLDS[k]), s >= 0.5
        for name, values in (("truth", y), ("chosen", selected), ("half", half)):
            pooled[name].append(values)
        if not 0 < y.sum() < len(y):
            continue
        table["ap"][k] = sk.average_precision_score(y, s)
        table["auroc"][k] = sk.roc_auc_score(y, s)
        table["f1"][k] = sk.f1_score(y, selected, zero_division=0)
        table["f1_at_half"][k] = sk.f1_score(y, half, zero_division=0)
        table["precision"][k] = sk.precision_score(y, selected, zero_division=0)
        table["recall"][k] = sk.recall_score(y, selected)
        table["prevalence"][k] = y.mean()
        bins = np.floor(s * np.float32(15)).astype(int)
        table["ece"][k] = sum(abs((y - s.astype(float))[bins == b].sum()) for b in np.unique(bins)) / len(y)
    truth, selected, half = (np.concatenate(values).astype(int) for values in pooled.values())
    usable = known.any(1)
    right = ((scores >= THRESHOLDS.astype(np.float32)) == (targets == 1)) | ~known
    return {
        "macro_ap": mean(list(table["ap"].values())),
        "macro_auroc": mean(list(table["auroc"].values())),
        **{f"{tier}_ap": mean([table["ap"][k] for k in ks if k in table["ap"]]) for tier, ks in TIERS.items()},
        "macro_f1": mean(list(table["f1"].values())),
        "micro_f1": sk.f1_score(truth, selected, zero_division=np.nan),
        "macro_f1_at_half": mean(list(table["f1_at_half"].values())),
        "micro_f1_at_half": sk.f1_score(truth, half, zero_division=np.nan),
        "exact_match": right.all(1)[usable].mean() if usable.any() else math.nan,
        "macro_ece": mean(list(table["ece"].values())),
        **{f"{name}_{k}": table[name].get(k, math.nan) for name in table for k in range(5)},
    }


@pytest.mark.parametrize("unknown", [0.0, 0.3])
@pytest.mark.parametrize("decimals", [None, 1])
@pytest.mark.parametrize("images", [150, 20, 2])
def test_weights_score_like_copied_rows(images, decimals, unknown):
    e = make(images, seed=images, decimals=decimals, unknown=unknown)
    # Of two images most resamples lack a kind of each label; the numbers of more take scikit-learn a tenth of a second.
    sampled = np.random.default_rng(1).integers(0, images, (15 if images == 2 else 5, images))
    weights = np.stack([np.bincount(rows, minlength=images) for rows in sampled]).astype(float)
    actual = MultilabelScorer(e, TIERS, THRESHOLDS)(weights)
    assert tuple(actual) == (*MULTILABEL_SCALARS, *PER_LABEL, "f1_at_half")
    for r, rows in enumerate(sampled):
        expected = slow(e, rows)
        for name in MULTILABEL_SCALARS:
            assert actual[name][r] == pytest.approx(expected[name], abs=1e-6, nan_ok=True), (name, r)
        for name in (*PER_LABEL, "f1_at_half"):
            wanted = [expected[f"{name}_{k}"] for k in range(5)]
            assert actual[name][r] == pytest.approx(wanted, abs=1e-6, nan_ok=True), (name, r)


def test_the_report_names_labels_that_cannot_be_scored():
    e = make()
    e.labels[:, 1] = 0
    e.labels[:, 2] = torch.nan
    e.labels[:, 4] = torch.where(e.labels[:, 4] == 0, torch.nan, e.labels[:, 4])
    report = report_of(e, TIERS, THRESHOLDS)
    expected = slow(e, np.arange(150))
    assert report.absent == ["B", "C", "E"]
    assert list(report.scalars()) == list(MULTILABEL_SCALARS)
    for name, value in report.scalars().items():
        assert value == pytest.approx(expected[name], abs=1e-6, nan_ok=True), name
    assert math.isnan(report.scalars()["medium_ap"])
    row = report.per_class[3]
    assert row["class"] == "D"
    assert row["support"] == int((e.labels[:, 3] == 1).sum())
    assert row["unknown"] == int(e.labels[:, 3].isnan().sum())
    assert row["threshold"] == 0.25
    assert all(math.isnan(report.per_class[1][name]) for name in PER_LABEL)


def test_thresholds_maximise_f1_of_known_entries_and_are_half_without_both_kinds():
    e = make(60, decimals=1)
    e.labels[:, 3] = torch.where(e.labels[:, 3] == 1, torch.nan, e.labels[:, 3])
    actual = label_thresholds(e)
    assert actual[3] == 0.5
    for k in (0, 1, 2):
        known = ~e.labels[:, k].isnan().numpy()
        y, s = e.labels[known, k].numpy(), e.probabilities[known, k].numpy()
        best = max(sk.f1_score(y, s >= cut) for cut in np.unique(s))
        assert sk.f1_score(y, s >= np.float32(actual[k])) == pytest.approx(best)
        assert all(sk.f1_score(y, s >= cut) < best - 1e-9 for cut in np.unique(s) if cut > actual[k])


def test_intervals_over_patients_do_not_depend_on_chunks(monkeypatch):
    e, groups = make(), np.arange(150) // 3
    actual = bootstrap(e, TIERS, thresholds=THRESHOLDS, groups=groups, unit="patient", resamples=40)
    monkeypatch.setattr(module, "CHUNK_VALUES", 150 * 7)
    again = bootstrap(e, TIERS, thresholds=THRESHOLDS, groups=groups, unit="patient", resamples=40)
    assert actual.units == 50
    assert list(actual.scalars) == list(MULTILABEL_SCALARS)
    for name, ends in actual.scalars.items():
        assert again.scalars[name] == pytest.approx(ends, abs=1e-12)
    weights = np.concatenate(list(resample_weights(groups, 40, 0)))
    aps = [macro_ap(e, np.repeat(np.arange(150), row.astype(int))) for row in weights]
    assert actual.scalars["macro_ap"] == pytest.approx(np.quantile(aps, [0.025, 0.975]), abs=1e-6)
    assert set(actual.per_class[0]) == set(PER_LABEL)


def test_outputs_that_are_not_finite_and_empty_splits_are_refused():
    e = make()
    e.probabilities[3, 1] = torch.nan
    with pytest.raises(UserError, match="NaN or infinite outputs for 1 of 150"):
        report_of(e, TIERS, THRESHOLDS)
    with pytest.raises(UserError, match="no images"):
        report_of(Evaluation(torch.zeros(0, 5), torch.zeros(0, 5), torch.zeros(0), tuple("ABCDE")), TIERS, THRESHOLDS)
