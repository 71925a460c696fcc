"""Coverage that was promised, over simulated splits and within binomial bounds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.special import softmax

from ltmed.errors import UserError
from ltmed.evaluation.conformal import calibrate, conformal_quantile, coverage, scores

PRIOR = np.array([0.6, 0.25, 0.1, 0.05])


def split(images: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.choice(4, images, p=PRIOR)
    logits = rng.normal(size=(images, 4)) + np.log(PRIOR)
    logits[np.arange(images), labels] += 1.5
    return softmax(logits, 1), labels


@pytest.mark.parametrize("score", ["lac", "aps", "prevalence"])
def test_marginal_coverage_over_200_splits(score) -> None:
    hits = images = 0
    everything, truth = split(200 * 110, 0)
    for rows in np.arange(200 * 110).reshape(200, 110):
        own, fresh = rows[:60], rows[60:]
        sets = calibrate(everything[own], truth[own], prior=PRIOR, score=score, alpha=0.1)
        hits += coverage(sets(everything[fresh]), truth[fresh]).coverage * len(fresh)
        images += len(fresh)
    # Between 1 - alpha and, without ties, 1 - alpha + 1 / (n + 1); images of one split share its threshold, hence 4 sd.
    low, high = 0.9, 0.9 + 1 / 61 + (0.05 if score == "aps" else 0)
    spread = 4 * np.sqrt(0.09 * (1 / images + 1 / (200 * 61)))
    assert low - spread <= hits / images <= high + spread


@pytest.mark.parametrize("score", ["lac", "aps"])
@pytest.mark.parametrize("condition", ["class", "pooled"])
def test_each_class_is_covered_where_that_is_promised(score, condition) -> None:
    """Over 200 simulated splits, drawn at once."""
    hits, images = np.zeros(4), np.zeros(4)
    everything, truth = split(200 * 600, 1)
    for rows in np.arange(200 * 600).reshape(200, 600):
        own, fresh = rows[:400], rows[400:]
        sets = calibrate(everything[own], truth[own], prior=PRIOR, score=score, condition=condition, alpha=0.1)
        assert sets.guaranteed.all() or condition == "pooled"
        inside = sets(everything[fresh])[np.arange(200), truth[fresh]]
        promised = sets.guaranteed[truth[fresh]]
        hits += np.bincount(truth[fresh], inside & promised, minlength=4)
        images += np.bincount(truth[fresh], promised, minlength=4)
    for k in range(4):
        shared = 0.09 / (200 * (400 * PRIOR[k] + 1))
        spread = 4 * np.sqrt(0.09 / images[k] + shared)
        # And not much more than promised, or the sets would be larger than they have to be (APS has steps).
        most = 0.9 + 1 / (400 * PRIOR[k] + 1) + (0.05 if score == "aps" else 0)
        assert 0.9 - spread <= hits[k] / images[k] <= most + spread
    marginal = calibrate(*split(4000, 1), prior=PRIOR, alpha=0.1)
    probabilities, labels = split(4000, 2)
    tail = coverage(marginal(probabilities), labels).per_class[3]
    assert tail < 0.85  # What class-conditional sets are for.


def test_too_few_images_promise_nothing() -> None:
    probabilities, labels = split(300, 0)
    keep = np.flatnonzero((labels != 3) | (np.cumsum(labels == 3) <= 8))
    sets = calibrate(probabilities[keep], labels[keep], prior=PRIOR, condition="class", alpha=0.1)
    assert sets.calibration_counts[3] == 8
    assert sets.guaranteed.tolist() == [True, True, True, False]
    assert sets(probabilities)[:, 3].all()


@pytest.mark.parametrize(("lesions", "promised"), [(3, False), (8, False), (9, True)])
def test_images_of_one_lesion_do_not_make_a_promise(lesions, promised) -> None:
    """A threshold from 12 images of 3 lesions, equal within each, covers 3 of 4 new lesions, not 9 of 10."""
    rng = np.random.default_rng(lesions)
    hits = 0
    for _ in range(400):
        probability = rng.random(2 * lesions + 1)
        of_lesion = np.stack([1 - probability, probability], 1)
        own, label = of_lesion[:-1].repeat(4, 0), np.repeat([0, 1], lesions).repeat(4)
        lesion = np.arange(2 * lesions).repeat(4)
        sets = calibrate(own, label, prior=np.ones(2), condition="pooled", alpha=0.1, groups=lesion)
        assert sets.guaranteed.tolist() == [promised, promised]
        alone = calibrate(own, label, prior=np.ones(2), condition="pooled", alpha=0.1)
        assert alone.guaranteed.all()
        hits += bool(alone(of_lesion[-1:])[0, 1])
    # Of images as if they were independent, whatever was promised: the largest of `lesions` scores.
    if lesions == 3:
        assert hits / 400 == pytest.approx(0.75, abs=4 * np.sqrt(0.75 * 0.25 / 400))


def test_clusters_share_a_threshold() -> None:
    probabilities, labels = split(2000, 5)
    sets = calibrate(probabilities, labels, prior=PRIOR, condition="cluster", alpha=0.1)
    assert 1 <= len(np.unique(sets.thresholds)) <= 2
    assert not sets.guaranteed.any()
    fresh, truth = split(2000, 6)
    assert coverage(sets(fresh), truth).coverage >= stats.binom.ppf(1e-4, 2000, 0.9) / 2000 - 0.02


def test_scores_are_the_formulas() -> None:
    p = np.array([[0.5, 0.3, 0.2]])
    np.testing.assert_allclose(scores(p, "lac", PRIOR[:3]), [[0.5, 0.7, 0.8]])
    np.testing.assert_allclose(scores(p, "aps", PRIOR[:3]), [[0.5, 0.8, 1.0]])
    np.testing.assert_allclose(scores(p, "prevalence", np.array([0.5, 0.1, 0.4])), [[-1, -3, -0.5]])


@pytest.mark.parametrize(("n", "rank"), [(9, 9), (19, 18), (99, 90)])
def test_the_quantile_counts_the_new_image(n: int, rank: int) -> None:
    values = np.random.default_rng(n).permutation(n) + 1.0
    assert conformal_quantile(values, 0.1) == rank
    assert conformal_quantile(values[:8], 0.1) == np.inf


def test_bad_input() -> None:
    probabilities, labels = split(20, 0)
    for options in ({"alpha": 0.0}, {"alpha": 1.5}, {"score": "nll"}, {"condition": "tier"}):
        with pytest.raises(UserError):
            calibrate(probabilities, labels, prior=PRIOR, **options)  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError):
        calibrate(probabilities[:0], labels[:0], prior=PRIOR)
