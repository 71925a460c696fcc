"""A planted gap is found, and none where there is none."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score

from ltmed.errors import UserError
from ltmed.evaluation.metrics import Evaluation
from ltmed.evaluation.subgroups import SubgroupReport, by_subgroup, categories
from ltmed.report.decisions.subgroups import subgroup_grids
from ltmed.runs.record import without_nan

TIERS = {"head": [0], "medium": [1], "tail": [2]}


def made(images: int, worse: np.ndarray, seed: int = 0) -> Evaluation:
    """Predictions that are right in 85 % of images, 55 % where `worse`."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, images, p=[0.6, 0.3, 0.1])
    right = rng.random(images) < np.where(worse, 0.55, 0.85)
    predicted = np.where(right, labels, (labels + 1) % 3)
    scores = np.full((images, 3), 0.1)
    scores[np.arange(images), predicted] = 0.8
    tensor = torch.tensor(scores, dtype=torch.float32)
    return Evaluation(tensor, torch.tensor(labels), torch.arange(images), ("a", "b", "c"))


def test_a_planted_gap_is_found_and_its_numbers_are_those_of_the_rows() -> None:
    site = np.array(["arm", "leg"], dtype=object)[np.random.default_rng(1).integers(0, 2, 1200)]
    evaluation = made(1200, site == "leg")
    (actual,) = by_subgroup(evaluation, TIERS, site, attribute="site", resamples=300, permutations=60)
    for group in actual.subgroups:
        rows = site == group.value
        predicted = evaluation.probabilities.argmax(1).numpy()[rows]
        assert group.metric == pytest.approx(balanced_accuracy_score(evaluation.labels.numpy()[rows], predicted))
        assert group.interval is not None
        assert group.interval[0] < group.metric < group.interval[1]
    assert actual.gap is not None
    assert (actual.gap.best, actual.gap.worst) == ("arm", "leg")
    assert actual.gap.interval[0] > 0
    assert actual.gap.simultaneous_p < 0.05


def test_a_shuffled_attribute_has_no_gap() -> None:
    outside = 0
    for seed in range(20):
        site = np.array(["arm", "leg"], dtype=object)[np.random.default_rng(seed).integers(0, 2, 400)]
        (actual,) = by_subgroup(made(400, np.zeros(400, bool), seed), TIERS, site, attribute="site", resamples=200,
                               permutations=40, seed=seed)  # fmt: skip
        assert actual.gap is not None
        outside += actual.gap.simultaneous_p < 0.05
    assert outside <= 4  # Binomial(20, 0.05) exceeds 4 once in 400 times.


def test_of_a_metric_where_less_is_better_the_largest_is_the_worst() -> None:
    site = np.array(["arm", "leg"], dtype=object)[np.random.default_rng(1).integers(0, 2, 1200)]
    (actual,) = by_subgroup(
        made(1200, site == "leg"), TIERS, site, attribute="site", metrics=["ece"], resamples=100, permutations=10
    )
    values = {group.value: group.metric for group in actual.subgroups}
    assert actual.gap is not None
    assert values["leg"] > values["arm"]
    assert (actual.gap.best, actual.gap.worst) == ("arm", "leg")
    assert actual.gap.difference == pytest.approx(values["leg"] - values["arm"])


def test_small_subgroups_are_withheld() -> None:
    site = np.array(["arm"] * 200 + ["ear"] * 29 + [None] * 11, dtype=object)
    (actual,) = by_subgroup(made(240, np.zeros(240, bool)), TIERS, site, attribute="site", resamples=50)
    assert [(g.value, g.metric is None) for g in actual.subgroups] == [("arm", False), ("ear", True)]
    assert actual.withheld == 40
    assert actual.gap is None


def test_groups_are_resampled_whole() -> None:
    site = np.array(["arm", "leg"], dtype=object)[np.arange(240) % 2]
    evaluation = made(240, site == "leg")
    copies = Evaluation(
        evaluation.probabilities.repeat_interleave(3, 0), evaluation.labels.repeat_interleave(3),
        torch.arange(720), evaluation.classes,
    )  # fmt: skip
    (one,) = by_subgroup(evaluation, TIERS, site, attribute="site", resamples=300)
    (many,) = by_subgroup(copies, TIERS, site.repeat(3), attribute="site", groups=np.arange(720) // 3, resamples=300)
    for a, b in zip(one.subgroups, many.subgroups, strict=True):
        assert a.metric == pytest.approx(b.metric)
        assert a.interval == pytest.approx(b.interval)
        assert a.units == b.units


def eyes(seed: int, right_of_left: float) -> float:
    """The p value of the gap between eyes, the left one first in each of 100 patients; right ones are 70 % right."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(rng.integers(0, 3, 100), 2)
    eye = np.array(["left", "right"] * 100, dtype=object)
    right = rng.random(200) < np.where(eye == "left", right_of_left, 0.7)
    scores = torch.eye(3)[np.where(right, labels, (labels + 1) % 3)]
    evaluation = Evaluation(scores, torch.tensor(labels), torch.arange(200), ("a", "b", "c"))
    (actual,) = by_subgroup(evaluation, TIERS, eye, attribute="eye", groups=np.arange(200) // 2, resamples=2,
                            permutations=39, seed=seed)  # fmt: skip
    assert actual.gap is not None
    return actual.gap.simultaneous_p


def test_an_attribute_that_varies_within_groups_has_a_p_of_its_effect() -> None:
    without = np.array([eyes(seed, 0.7) for seed in range(40)])
    assert kstest(without, "uniform").pvalue > 0.01
    assert (without <= 0.05).sum() <= 6  # Binomial(40, 0.05) exceeds 6 once in 290 times.
    assert max(eyes(seed, 0.3) for seed in range(5)) <= 0.05


def test_a_different_mix_of_classes_is_no_effect_but_in_accuracy() -> None:
    labels = np.repeat([0, 1, 0, 1], [200, 10, 10, 200])
    site = np.repeat(np.array(["arm", "leg"], dtype=object), 210)
    tiers = {"head": [0], "medium": [], "tail": [1]}
    values = []
    for seed in range(20):
        right = np.random.default_rng(seed).random(420) < np.where(labels, 0.5, 0.9)
        scores = torch.eye(2)[np.where(right, labels, 1 - labels)]
        evaluation = Evaluation(scores, torch.tensor(labels), torch.arange(420), ("a", "b"))
        reports = by_subgroup(evaluation, tiers, site, attribute="site", resamples=2, permutations=39, seed=seed,
                              metrics=["balanced_accuracy", "recall:a", "accuracy"])  # fmt: skip
        values.append([np.nan if report.gap is None else report.gap.simultaneous_p for report in reports])
    balanced, recall, accuracy = np.transpose(values)
    # Binomial(20, 0.05) exceeds 4 once in 400 times.
    assert (balanced <= 0.05).sum() <= 4
    assert (recall <= 0.05).sum() <= 4
    assert (accuracy <= 0.05).all()


def test_images_of_no_compared_subgroup_take_no_part_in_permutations() -> None:
    site = np.array(["arm", "leg", None], dtype=object)[np.random.default_rng(1).integers(0, 3, 600)]
    evaluation = made(600, site == "leg")
    known = np.flatnonzero(site != None)  # noqa: E711
    alone = Evaluation(
        evaluation.probabilities[known], evaluation.labels[known], torch.arange(len(known)), ("a", "b", "c")
    )
    (one,), (other,) = (
        by_subgroup(e, TIERS, values, attribute="site", metrics=["accuracy"], resamples=2, permutations=40)
        for e, values in ((evaluation, site), (alone, site[known]))
    )
    assert one.gap is not None
    assert other.gap is not None
    assert one.gap.simultaneous_p == other.gap.simultaneous_p


def test_an_attribute_that_hardly_can_be_permuted_has_no_p_but_a_reason() -> None:
    site = np.array(["arm"] * 60 + ["leg"] * 60, dtype=object)
    halves = np.repeat([0, 1], 60)
    (actual,) = by_subgroup(made(120, np.zeros(120, bool)), TIERS, site, attribute="site", groups=halves, resamples=10)
    assert actual.gap is not None
    assert np.isnan(actual.gap.simultaneous_p)
    assert "2 differ" in actual.gap.no_p
    assert any("no p value: of 200 permutations" in note for note in notes_of(actual))


def sites(counts: dict[str, list[int]], recalls: list[float], seed: int = 0) -> tuple[Evaluation, np.ndarray]:
    """Images of sites, by number of each class; the recalls, equal at all sites, are exact. Errors go to class a."""
    labels = np.concatenate([np.repeat(np.arange(3), images) for images in counts.values()])
    site = np.repeat(np.array(list(counts), dtype=object), [sum(images) for images in counts.values()])
    predicted = labels.copy()
    for images, k in ((np.flatnonzero((site == name) & (labels == k)), k) for name in counts for k in range(3)):
        wrong = images[: round(len(images) * (1 - recalls[k]))]
        predicted[wrong] = 0 if k else 1
    noise = np.random.default_rng(seed).random((len(labels), 3)) / 10
    scores = torch.tensor(0.5 * np.eye(3)[predicted] + noise, dtype=torch.float32)
    return Evaluation(scores, torch.tensor(labels), torch.arange(len(labels)), ("a", "b", "c")), site


@pytest.mark.parametrize("rare", [0, 4])
@pytest.mark.parametrize("metric", ["balanced_accuracy", "macro_f1", "macro_precision", "macro_auroc"])
def test_a_hard_class_that_a_site_hardly_has_makes_no_gap(metric: str, rare: int) -> None:
    evaluation, site = sites({"arm": [100, 60, 20], "leg": [100, 60, rare]}, [0.9, 0.9, 0.25])
    (actual,) = by_subgroup(evaluation, TIERS, site, attribute="site", metrics=[metric], resamples=200, permutations=60)
    assert actual.left_out == ["c"]
    assert actual.gap is not None
    assert actual.gap.difference < 0.02
    assert actual.gap.interval[0] < 0 < actual.gap.interval[1]
    assert actual.gap.simultaneous_p > 0.1
    if not rare and metric != "macro_precision":
        arm, leg = (group.metric for group in actual.subgroups)
        assert arm is not None
        assert leg is not None
        assert leg > arm + 0.03  # Each over its own classes.
    assert actual.gap.classes == ["a", "b"]
    assert any(
        note.startswith("Worst and gap are over a, b, the classes common to all subgroups with a number. Left out: c (")
        for note in notes_of(actual)
    )


def test_a_gap_of_common_classes_is_that_of_their_images() -> None:
    evaluation, site = sites({"arm": [100, 60, 20], "leg": [90, 40, 3]}, [0.9, 0.7, 0.25])
    predicted = evaluation.probabilities.argmax(1).numpy()
    predicted[(site == "leg") & (np.arange(len(site)) % 3 == 0)] = 1
    evaluation = Evaluation(torch.eye(3)[predicted], evaluation.labels, evaluation.indices, evaluation.classes)
    labels = evaluation.labels.numpy()
    f1 = [
        f1_score(labels[rows], predicted[rows], labels=[0, 1], average="macro")
        for rows in ((site == name) & (labels < 2) for name in ("arm", "leg"))
    ]
    f1_report, tail = by_subgroup(evaluation, TIERS, site, attribute="site", metrics=["macro_f1", "tail_recall"],
                                  resamples=20, permutations=20)  # fmt: skip
    assert f1_report.gap is not None
    assert f1_report.gap.difference == pytest.approx(f1[0] - f1[1])
    assert tail.gap is None  # The only class of the tail is not common.
    assert tail.left_out == ["c"]
    assert any("No gap: there are too few classes common" in note for note in notes_of(tail))


def test_without_a_common_class_there_is_no_gap() -> None:
    evaluation, site = sites({"arm": [100, 0, 4], "leg": [0, 100, 0]}, [0.9, 0.9, 0.5])
    reports = by_subgroup(evaluation, TIERS, site, attribute="site", metrics=["balanced_accuracy", "accuracy"],
                          resamples=20, permutations=20)  # fmt: skip
    assert reports[0].gap is None
    assert reports[0].left_out == ["a", "b", "c"]
    assert all(group.metric is not None for group in reports[0].subgroups)
    assert reports[1].gap is not None  # No average over classes.
    assert reports[1].left_out == []


def test_a_label_that_a_site_lacks_makes_no_gap() -> None:
    evaluation = several(1000, np.zeros(1000, bool))
    site = np.array(["arm", "leg"], dtype=object)[np.arange(1000) % 2]
    targets = evaluation.labels.numpy()  # Shares its memory.
    targets[(site == "leg") & (targets[:, 1] == 1), 1] = 0
    metrics = ["macro_auroc", "macro_ap", "macro_f1_at_half", "macro_ece", "auroc:a", "tail_ap"]
    tiers = {"head": [0], "medium": [], "tail": [1]}
    reports = by_subgroup(evaluation, tiers, site, attribute="site", metrics=metrics, thresholds=np.full(2, 0.5),
                          resamples=50, permutations=30)  # fmt: skip
    assert [report.left_out for report in reports] == [["b"], ["b"], ["b"], ["b"], [], []]
    assert reports[0].gap is not None
    assert replace(reports[0].gap, classes=[]) == reports[4].gap  # Only label a is common.
    rows = [(site == name) & ~np.isnan(targets[:, 0]) for name in ("arm", "leg")]
    scores = evaluation.probabilities[:, 0].numpy()
    f1 = [f1_score(targets[row, 0], scores[row] >= 0.5) for row in rows]
    assert reports[2].gap is not None
    assert reports[2].gap.difference == pytest.approx(abs(f1[0] - f1[1]))
    assert reports[5].gap is None  # Only arm has a number.


def notes_of(report: SubgroupReport) -> tuple[str, ...]:
    """The notes below the table on the page."""
    (grid,) = subgroup_grids([without_nan(asdict(report))])
    return grid.notes


def test_values_as_subgroups() -> None:
    ages = np.array(["5", "45.0", "80", "nan", "", "39", "41", "62", "17"])
    actual = categories(ages, "age")
    assert actual.tolist() == [
        "0 to 20", "40 to 60", "80 or more", None, None, "20 to 40", "40 to 60", "60 to 80", "0 to 20",
    ]  # fmt: skip
    assert categories(np.array(["male", "unknown", "female"]), "sex").tolist() == ["male", None, "female"]
    years = [str(age) for age in range(0, 90, 5)]  # Few enough to be names, if one of the cells is no number.
    for cell in ("NA", "N/A", "n/a", "<NA>", "None", " null "):
        assert categories(np.array([*years, cell]), "age").tolist() == [*categories(np.array(years), "age"), None]
    assert set(categories(np.array(years), "age")) == set(actual) - {None}
    dates = categories(np.arange(20190401, 20190429), "date").tolist()  # With six digits all of them are 2.01904e+07.
    assert [len(set(dates)), *map(dates.count, dict.fromkeys(dates))] == [4, 7, 7, 7, 7]
    assert dates[:7] == ["20190401 to 20190408"] * 7
    with pytest.raises(UserError, match="'name'"):
        categories(np.array([f"p{k}" for k in range(500)]), "name")


@pytest.mark.parametrize(
    "name",
    ["age", "AGE", "age_approx", "patient_age", "PatientAge", "patientAge", "Age (years)", "age.at.diagnosis", "age2"],
)
def test_ages_are_known_by_their_name(name: str) -> None:
    assert set(categories(np.arange(100), name)) == {"0 to 20", "20 to 40", "40 to 60", "60 to 80", "80 or more"}


@pytest.mark.parametrize(
    "name", ["thickness", "bmi", "stage", "dosage", "image_number", "percentage", "age_months", "AgeGroup"]
)
def test_other_numbers_within_the_range_of_ages_are_cut_at_their_quartiles(name: str) -> None:
    numbers = np.random.default_rng(0).permutation(np.linspace(0.5, 8.5, 81))
    actual = categories(numbers, name)
    assert Counter(actual) == {"0.5 to 2.5": 20, "2.5 to 4.5": 20, "4.5 to 6.5": 20, "6.5 or more": 21}
    assert all(float(text.split()[0]) <= number for text, number in zip(actual, numbers, strict=True))


def test_numbers_that_are_no_ages_are_cut_at_their_quartiles_even_if_called_ages() -> None:
    assert set(categories(np.arange(-10, 191), "age")) == {"-10 to 40", "40 to 90", "90 to 140", "140 or more"}


def several(images: int, worse: np.ndarray, seed: int = 0) -> Evaluation:
    """Two labels: scores of the first are informative, but where `worse`; of the second everywhere. Some unknown."""
    rng = np.random.default_rng(seed)
    targets = (rng.random((images, 2)) < [0.3, 0.4]).astype(np.float32)
    shift = np.stack([np.where(worse, 0.0, 2.5), np.full(images, 1.5)], axis=1)
    scores = 1 / (1 + np.exp(-(rng.normal(size=(images, 2)) + shift * (targets - 0.5))))
    targets[rng.random(targets.shape) < 0.1] = np.nan
    tensor = torch.tensor(scores, dtype=torch.float32)
    return Evaluation(tensor, torch.tensor(targets), torch.arange(images), ("a", "b"))


def test_a_gap_of_one_of_several_labels_is_found_in_that_label() -> None:
    site = np.array(["arm", "leg"], dtype=object)[np.random.default_rng(1).integers(0, 2, 1000)]
    evaluation = several(1000, site == "leg")
    metrics = ["macro_ap", "auroc:a", "auroc:b"]
    tiers = {"head": [1], "medium": [0], "tail": []}
    reports = by_subgroup(evaluation, tiers, site, attribute="site", metrics=metrics, thresholds=np.full(2, 0.5),
                          resamples=100, permutations=60)  # fmt: skip
    assert [report.metric for report in reports] == metrics
    for report, k in zip(reports[1:], (0, 1), strict=True):
        for group in report.subgroups:
            targets = evaluation.labels[:, k].numpy()
            rows = (site == group.value) & ~np.isnan(targets)
            scores = evaluation.probabilities[:, k].numpy()
            assert group.metric == pytest.approx(roc_auc_score(targets[rows], scores[rows]))
    p = [report.gap.simultaneous_p for report in reports if report.gap is not None]
    assert p[0] < 0.05
    assert p[1] < 0.05 < p[2]
    alone = by_subgroup(evaluation, tiers, site, attribute="site", metrics=["auroc:b"], thresholds=np.full(2, 0.5),
                        resamples=100, permutations=60)  # fmt: skip
    assert alone == reports[2:]


def test_a_number_of_a_class_that_hardly_occurs_in_a_subgroup_is_withheld() -> None:
    evaluation = made(400, np.zeros(400, bool))
    tail = evaluation.labels.numpy() == 2
    assert tail.sum() > 10
    site = np.where(tail & (np.cumsum(tail) <= 4), "leg", "arm").astype(object)
    site[~tail] = np.array(["arm", "leg"], dtype=object)[np.arange((~tail).sum()) % 2]
    one, other = by_subgroup(evaluation, TIERS, site, attribute="site", metrics=["auroc:c", "auroc:a"], resamples=20)
    assert [group.metric is None for group in one.subgroups] == [False, True]
    assert one.gap is None
    assert one.withheld == (site == "leg").sum()
    assert all(group.metric is not None for group in other.subgroups)


@pytest.mark.parametrize(
    ("metric", "said"), [("macro_ap", "'macro_ap'"), ("auroc:d", "'d'"), ("ap:a", "'ap'"), ("auroc", "'auroc'")]
)
def test_unknown_metrics(metric: str, said: str) -> None:
    site = np.array(["arm", "leg"], dtype=object)[np.arange(60) % 2]
    with pytest.raises(UserError, match=said):
        by_subgroup(made(60, np.zeros(60, bool)), TIERS, site, attribute="site", metrics=[metric])
