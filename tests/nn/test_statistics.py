"""Class means and covariances against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ltmed.nn.statistics import RIDGE, ClassMoments, ClassStatistics, Moments


def data(images: int = 40, classes: int = 4, width: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    features = 100 + torch.randn(images, width, generator=generator)
    labels = torch.randint(classes - 1, (images,), generator=generator)
    labels[0] = classes - 1  # One image of the last class.
    return features, labels, torch.randint(4, (images,), generator=generator).clamp_min((labels == classes - 1).long())


def moments(
    features: torch.Tensor, labels: torch.Tensor, times: torch.Tensor, classes: int, batch: int
) -> ClassMoments:
    adding = Moments(classes, features.shape[1], torch.device("cpu"))
    for part in torch.arange(len(labels)).split(batch):
        adding.add(features[part], labels[part], times[part])
    return adding.finish()


@pytest.mark.parametrize("batch", [7, 40])
def test_moments_are_numpys_of_the_repeated_images(batch: int) -> None:
    features, labels, times = data()
    times[0] = 1
    actual = moments(features, labels, times, 4, batch)
    for label in range(3):
        mine = np.repeat(features.double().numpy(), times.numpy(), axis=0)
        mine = mine[np.repeat(labels.numpy(), times.numpy()) == label]
        np.testing.assert_allclose(actual.means[label], mine.mean(0), rtol=1e-12)
        np.testing.assert_allclose(actual.covariances[label], np.cov(mine.T), rtol=1e-6, atol=1e-9)
    assert actual.covariances[3].abs().max() < 1e-9


def test_absent_classes_keep_what_they_have() -> None:
    features, labels, times = data()
    known = ClassStatistics(5, 3)
    actual = moments(features, labels, times, 5, 40)
    assert actual.present.tolist() == [True, True, True, True, False]
    known.update(actual, momentum=0.0)
    assert torch.equal(known.means[4], torch.zeros(3))
    assert torch.equal(known.covariances[4], torch.eye(3))


def test_running_average_and_the_ridge_of_a_single_image() -> None:
    features, labels, times = data()
    actual, known = moments(features, labels, times, 4, 40), ClassStatistics(4, 3)
    known.update(actual, momentum=0.0)
    torch.testing.assert_close(known.covariances[3], RIDGE * torch.eye(3), atol=1e-6, rtol=0)
    before = known.means.clone(), known.covariances.clone()
    other = ClassMoments(actual.present, actual.means + 1, actual.covariances * 3)
    known.update(other, momentum=0.75)
    torch.testing.assert_close(known.means, before[0] + 0.25)
    ridge = RIDGE * torch.eye(3)
    torch.testing.assert_close(known.covariances, 0.75 * before[1] + 0.25 * (3 * actual.covariances.float() + ridge))


def test_factors_multiply_to_the_covariances_and_are_whitened_by_their_inverse() -> None:
    features, labels, times = data()
    known = ClassStatistics(4, 3)
    known.update(moments(features, labels, times, 4, 40), momentum=0.0)
    factors = known.factors()
    torch.testing.assert_close(factors @ factors.mT, known.covariances)
    assert torch.equal(factors, factors.tril())
    transform = known.whitening(factors).transform.view(4, 3, 3)
    torch.testing.assert_close(
        transform @ known.covariances @ transform.mT, torch.eye(3).expand(4, 3, 3), atol=1e-4, rtol=0
    )


def test_statistics_are_saved() -> None:
    assert set(ClassStatistics(2, 3).state_dict()) == {"means", "covariances"}
