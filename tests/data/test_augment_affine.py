"""Affine transforms, sharpness and erasing against torchvision v1 with the same parameters."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from torchvision import transforms
from torchvision.transforms import InterpolationMode, functional

from ltmed.data import augment
from ltmed.data.augment.affine import Affine, warp
from ltmed.data.augment.sharpness import adjust_sharpness
from ltmed.errors import UserError

LIMIT = {"nearest": 0.1, "bilinear": 1.5}  # grey levels
MODES = {"nearest": InterpolationMode.NEAREST, "bilinear": InterpolationMode.BILINEAR}


def lesion(size: int, seed: int) -> np.ndarray:
    """A dark blotch with sharp edges and sensor noise on shaded skin, so that a shift by one pixel shows."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    picture = np.array([215, 165, 140]) - 40 * y[..., None] - 20 * x[..., None]
    cv2.ellipse(picture, (size // 2, size // 3), (size // 4, size // 6), 30, 0, 360, (110, 70, 60), -1)
    return np.clip(picture + rng.normal(scale=4, size=picture.shape), 0, 255).astype(np.uint8)


def difference(ours: np.ndarray, theirs: Image.Image) -> float:
    return float(np.abs(ours.astype(int) - np.asarray(theirs).astype(int)).mean())


def applied(operation: augment.Operation, image: np.ndarray, drawn: object) -> np.ndarray:
    out, in_place = np.full_like(image, 77), image.copy()
    operation.apply(image, drawn, out)
    operation.apply(in_place, drawn, in_place)
    np.testing.assert_array_equal(in_place, out)
    return out


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("size", [224, 225])
@pytest.mark.parametrize("seed", range(4))
def test_affine(interpolation, size, seed):
    image = lesion(size, seed)
    operation = augment.RandomAffine((-180, 180), (0.1, 0.2), (0.8, 1.2), (-10, 10, -8, 8), interpolation)
    sampled = operation.draw(np.random.default_rng(seed), size, size)
    reference = functional.affine(
        Image.fromarray(image),
        sampled.angle,
        list(sampled.translate),
        sampled.scale,
        list(sampled.shear),
        MODES[interpolation],
    )
    assert difference(applied(operation, image, sampled), reference) < LIMIT[interpolation]
    mirrored = functional.affine(
        Image.fromarray(image), -sampled.angle, list(sampled.translate), sampled.scale, list(sampled.shear)
    )
    assert difference(applied(operation, image, sampled), mirrored) > 5  # The limit would notice a wrong sign.


def test_affine_of_an_image_that_is_not_square():
    image = np.ascontiguousarray(lesion(120, 0)[:80])
    by = Affine(30.0, (7, -3), 0.9, (5.0, -4.0))
    out = np.empty_like(image)
    warp(image, by, "nearest", out)
    assert difference(out, functional.affine(Image.fromarray(image), 30.0, [7, -3], 0.9, [5.0, -4.0])) < 0.1


@pytest.mark.parametrize("angle", [-15.0, -3.3, 0.0, 0.4, 15.0, 90.0])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_rotation(angle, interpolation):
    image, operation = lesion(224, 0), augment.RandomRotation(15, interpolation)
    reference = functional.rotate(Image.fromarray(image), angle, MODES[interpolation])
    assert difference(applied(operation, image, angle), reference) < LIMIT[interpolation]


def test_nothing_drawn_is_nothing_done():
    image = lesion(65, 0)
    for interpolation in ("nearest", "bilinear"):
        operation = augment.RandomAffine((0, 0), interpolation=interpolation)
        sampled = operation.draw(np.random.default_rng(0), 65, 65)
        assert sampled == Affine(0.0)
        np.testing.assert_array_equal(applied(operation, image, sampled), image)


def test_outside_is_black():
    image = np.full((32, 32, 3), 200, np.uint8)
    out = np.empty_like(image)
    warp(image, Affine(0.0, (8, 0)), "nearest", out)
    assert (out[:, :8] == 0).all()
    assert (out[:, 8:] == 200).all()


def test_affine_and_rotation_draw_like_torchvision():
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    operation = augment.RandomAffine((-180, 180), (0.1, 0.2), (0.8, 1.2), (0.8, 1.2, -3, 2))
    actual = [operation.draw(rng, 50, 100) for _ in range(2000)]
    reference = [
        transforms.RandomAffine.get_params([-180, 180], [0.1, 0.2], [0.8, 1.2], [0.8, 1.2, -3, 2], [100, 50])
        for _ in range(2000)
    ]
    flat = [np.array([np.hstack(one) for one in some]) for some in (actual, reference)]
    for column in range(6):
        assert stats.ks_2samp(flat[0][:, column], flat[1][:, column]).pvalue > 1e-3
    angles = [augment.RandomRotation(15).draw(rng, 9, 9) for _ in range(1000)]
    assert stats.kstest(angles, "uniform", (-15, 30)).pvalue > 1e-3


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.0, 1.5, 2.0, 3.0])
def test_sharpness(factor):
    image = lesion(129, 1)
    out, in_place = np.empty_like(image), image.copy()
    adjust_sharpness(image, factor, out)
    assert difference(out, functional.adjust_sharpness(Image.fromarray(image), factor)) < 0.6
    adjust_sharpness(in_place, factor, in_place)
    np.testing.assert_array_equal(in_place, out)
    operation = augment.RandomAdjustSharpness(factor)
    np.testing.assert_array_equal(applied(operation, image, True), out)
    np.testing.assert_array_equal(applied(operation, image, False), image)


@pytest.mark.parametrize("box", [(3, 5, 10, 20), (0, 0, 1, 1), (10, 20, 30, 40)])
def test_erasing(box):
    image = lesion(60, 2)
    out = applied(augment.RandomErasing(fill=(0, 0, 0)), image, box)
    reference = functional.erase(
        torch.from_numpy(image).permute(2, 0, 1), *box, v=torch.zeros(3, 1, 1, dtype=torch.uint8)
    )
    np.testing.assert_array_equal(out, reference.permute(1, 2, 0).numpy())
    np.testing.assert_array_equal(applied(augment.RandomErasing(), image, None), image)
    top, remaining = box[:2]
    grey = applied(augment.RandomErasing(), image, box)[top, remaining]
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    assert np.abs((grey / 255 - mean) / std).max() < 0.01


@pytest.mark.parametrize(("scale", "ratio"), [((0.02, 0.33), (0.3, 3.3)), ((0.6, 1.0), (0.5, 2.0))])
def test_erasing_draws_like_torchvision(scale, ratio):
    torch.manual_seed(0)
    operation, rng = augment.RandomErasing(1.0, scale, ratio), np.random.default_rng(0)
    blank = torch.zeros(3, 100, 80)
    sampled = [operation.draw(rng, 100, 80) for _ in range(3000)]
    reference = np.array([transforms.RandomErasing.get_params(blank, scale, ratio, [0.0])[:4] for _ in range(3000)])
    actual = np.array([(0, 0, 100, 80) if box is None else box for box in sampled])  # Theirs for "leave the image".
    for column in range(4):
        assert stats.ks_2samp(actual[:, column], reference[:, column]).pvalue > 1e-3


@pytest.mark.parametrize("make", [augment.RandomErasing, lambda p: augment.RandomAdjustSharpness(2, p)])
def test_probabilities(make):
    operation, rng = make(0.3), np.random.default_rng(0)
    hits = sum(bool(operation.draw(rng, 32, 32)) for _ in range(2000))
    assert stats.binomtest(hits, 2000, 0.3).pvalue > 1e-3


@pytest.mark.parametrize(
    "mistake",
    [
        lambda: augment.RandomAffine((10, -10)),
        lambda: augment.RandomAffine((10,)),
        lambda: augment.RandomAffine((0, 0), translate=(0.5, 1.5)),
        lambda: augment.RandomAffine((0, 0), translate=(0.5,)),
        lambda: augment.RandomAffine((0, 0), scale=(0.0, 1.0)),
        lambda: augment.RandomAffine((0, 0), shear=(1.0, 2.0, 3.0)),
        lambda: augment.RandomAffine((0, 0), shear=(0.0, 90.0)),
        lambda: augment.RandomAffine((0, 0), shear=(0.0, 0.0, -90.0, 0.0)),
        lambda: augment.RandomAffine((0, 0), interpolation="cubic"),
        lambda: augment.RandomRotation(-5),
        lambda: augment.RandomRotation(float("nan")),
        lambda: augment.RandomAdjustSharpness(-1),
        lambda: augment.RandomAdjustSharpness(2, 1.5),
        lambda: augment.RandomErasing(fill=(0, 0)),
        lambda: augment.RandomErasing(fill=(0, 0, 256)),
        lambda: augment.RandomErasing(scale=(0.5, 0.1)),
        lambda: augment.RandomCrop(32, -1),
        lambda: augment.RandomCrop(32, 1.5),  # pyright: ignore[reportArgumentType]
        lambda: augment.RandomCrop(32, None),  # pyright: ignore[reportArgumentType]
    ],
)
def test_mistakes(mistake):
    with pytest.raises(UserError):
        mistake()
