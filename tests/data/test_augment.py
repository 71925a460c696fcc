"""Against torchvision v1 on PIL images with the same parameters: at most 1.5 grey levels apart on average."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from scipy import stats
from torchvision import transforms
from torchvision.transforms import functional

from ltmed.data import augment
from ltmed.data.augment import colour, geometry
from tests.data.pictures import IMAGES, LIMIT, difference, empty, lesion


@pytest.fixture(params=IMAGES)
def image(request: pytest.FixtureRequest) -> np.ndarray:
    return IMAGES[request.param]


@pytest.mark.parametrize("factor", [0.0, 0.6, 0.93, 1.0, 1.07, 1.4, 1.9])
@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_colour_factors(image, name, factor):
    out = np.empty_like(image)
    getattr(colour, f"adjust_{name}")(image, factor, out)
    reference = getattr(functional, f"adjust_{name}")(Image.fromarray(image), factor)
    assert difference(out, reference) < (0.6 if name == "saturation" else 0.05)
    in_place = image.copy()
    getattr(colour, f"adjust_{name}")(in_place, factor, in_place)
    np.testing.assert_array_equal(in_place, out)


@pytest.mark.parametrize("factor", [-0.5, -0.1, -0.003, 0.0, 0.05, 0.1, 0.31, 0.5])
def test_hue(image, factor):
    out = np.empty_like(image)
    colour.adjust_hue(image, factor, out)
    assert difference(out, functional.adjust_hue(Image.fromarray(image), factor)) < LIMIT
    in_place = image.copy()
    colour.adjust_hue(in_place, factor, in_place)
    np.testing.assert_array_equal(in_place, out)


def test_hue_turns_the_right_way():
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 200
    out = np.empty_like(red)
    colour.adjust_hue(red, 1 / 3, out)
    assert abs(int(out[0, 0, 1]) - 200) <= 4
    assert out[0, 0, [0, 2]].max() <= 4


@pytest.mark.parametrize("seed", range(8))
def test_jitter_with_the_drawn_order(image, seed):
    jitter = augment.ColorJitter(0.4, 0.4, 0.4, 0.1)
    sampled = jitter.draw(np.random.default_rng(seed), 256, 256)
    out = np.empty_like(image)
    jitter.apply(image, sampled, out)
    reference = Image.fromarray(image)
    names = ("brightness", "contrast", "saturation", "hue")
    for step in sampled[0]:
        reference = getattr(functional, f"adjust_{names[step]}")(reference, sampled[1][step])
    assert difference(out, reference) < LIMIT


def test_jitter_draws_like_torchvision():
    jitter = augment.ColorJitter(0.4, 1.5, 0.2, 0.1)
    reference = transforms.ColorJitter(0.4, 1.5, 0.2, 0.1)
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    actual = [jitter.draw(rng, 256, 256) for _ in range(2000)]
    theirs = [
        reference.get_params(reference.brightness, reference.contrast, reference.saturation, reference.hue)
        for _ in range(2000)
    ]
    for index in range(4):
        assert stats.ks_2samp([d[1][index] for d in actual], [d[index + 1] for d in theirs]).pvalue > 1e-3
        observed = np.bincount([d[0][index] for d in actual], minlength=4)
        assert stats.chisquare(observed).pvalue > 1e-3


def test_strength_zero_leaves_alone(image):
    for jitter in (augment.ColorJitter(), augment.ColorJitter(hue=0.0, brightness=0.0)):
        out = np.empty_like(image)
        jitter(image, np.random.default_rng(0), out)
        np.testing.assert_array_equal(out, image)


def test_grey(image):
    out = np.empty_like(image)
    augment.RandomGrayscale(1.0)(image, np.random.default_rng(0), out)
    assert difference(out, functional.to_grayscale(Image.fromarray(image), 3)) < 0.1
    augment.RandomGrayscale(0.0)(image, np.random.default_rng(0), out)
    np.testing.assert_array_equal(out, image)


@pytest.mark.parametrize("sigma", [0.1, 0.29, 0.31, 0.45, 0.6, 1.0, 1.33, 1.7, 2.0])
def test_blur(image, sigma):
    blur = augment.GaussianBlur()
    out = np.empty_like(image)
    blur.apply(image, sigma, out)
    reference = Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius=sigma))
    assert difference(out, reference) < 1.0
    border = np.abs(out.astype(int) - np.asarray(reference).astype(int))[[0, -1]].mean()
    assert border < LIMIT
    in_place = image.copy()
    blur.apply(in_place, sigma, in_place)
    np.testing.assert_array_equal(in_place, out)


def test_blur_draws_evenly():
    rng = np.random.default_rng(0)
    sampled = [augment.GaussianBlur((0.5, 1.5)).draw(rng, 9, 9) for _ in range(1000)]
    assert stats.kstest(sampled, "uniform", (0.5, 1.0)).pvalue > 1e-3


@pytest.mark.parametrize("box", [(0, 0, 256, 256), (10, 33, 200, 190), (5, 100, 120, 150), (100, 7, 60, 210)])
def test_resized_crop(image, box):
    out = empty()
    augment.RandomResizedCrop(224).apply(image, box, out)
    reference = functional.resized_crop(Image.fromarray(image), *box, [224, 224])
    assert difference(out, reference) < LIMIT


@pytest.mark.parametrize("box", [(0, 90, 256, 80), (80, 5, 60, 240), (3, 100, 200, 90)])
def test_a_long_crop_whose_one_side_shrinks_and_the_other_grows(box):
    """Whose long side is averaged; OpenCV would take single pixels."""
    image, out = (np.random.default_rng(0).random((256, 256, 3)) * 255).astype(np.uint8), empty(112)
    image = cv2.GaussianBlur(image, (0, 0), 1)
    augment.RandomResizedCrop(112, ratio=(1 / 4, 4.0)).apply(image, box, out)
    reference = functional.resized_crop(Image.fromarray(image), *box, [112, 112])
    assert difference(out, reference) < LIMIT


@pytest.mark.parametrize(("scale", "ratio"), [((0.2, 1.0), (3 / 4, 4 / 3)), ((0.05, 0.2), (1 / 5, 3.0))])
def test_resized_crop_draws_like_torchvision(scale, ratio):
    crop, rng = augment.RandomResizedCrop(224, scale, ratio), np.random.default_rng(0)
    torch.manual_seed(0)
    blank, reference = Image.new("RGB", (256, 256)), transforms.RandomResizedCrop
    actual = np.array([crop.draw(rng, 256, 256) for _ in range(3000)])
    theirs = np.array([reference.get_params(blank, list(scale), list(ratio)) for _ in range(3000)])
    for column in range(4):
        assert stats.ks_2samp(actual[:, column], theirs[:, column]).pvalue > 1e-3
    assert stats.ks_2samp(actual[:, 3] / actual[:, 2], theirs[:, 3] / theirs[:, 2]).pvalue > 1e-3
    assert (actual[:, :2] >= 0).all()
    assert (actual[:, :2] + actual[:, 2:] <= 256).all()


@pytest.mark.parametrize(("height", "width"), [(40, 400), (400, 40), (100, 100)])
def test_resized_crop_that_never_fits_is_central(height, width):
    # Areas above the image's own never fit, so that the rule of the last resort decides.
    actual = augment.RandomResizedCrop(8, (4.0, 5.0)).draw(np.random.default_rng(0), height, width)
    blank = Image.new("RGB", (width, height))
    assert actual == transforms.RandomResizedCrop.get_params(blank, [4.0, 5.0], [3 / 4, 4 / 3])


@pytest.mark.parametrize(("cached", "size"), [(256, 224), (300, 224), (224, 224), (360, 224), (512, 128), (96, 128)])
def test_resize(cached, size):
    image, out = lesion(cached, 3), empty(size)
    augment.Resize(size)(image, np.random.default_rng(0), out)
    assert difference(out, functional.resize(Image.fromarray(image), [size, size])) < LIMIT


@pytest.mark.parametrize("cached", [224, 255, 256, 301])
def test_centre_crop(cached):
    image, out = lesion(cached, 4), empty()
    augment.CenterCrop(224)(image, np.random.default_rng(0), out)
    np.testing.assert_array_equal(out, np.asarray(functional.center_crop(Image.fromarray(image), [224])))


@pytest.mark.parametrize("padding", [0, 4])
def test_random_crop(padding):
    image, out = lesion(36, 5), empty(32)
    crop, rng = augment.RandomCrop(32, padding), np.random.default_rng(0)
    observed = []
    for _ in range(600):
        sampled = crop.draw(rng, 36, 36)
        crop.apply(image, sampled, out)
        reference = functional.crop(functional.pad(Image.fromarray(image), [padding]), *sampled)
        np.testing.assert_array_equal(out, np.asarray(reference))
        observed.append(sampled[:2])
    for axis in (0, 1):
        places = np.bincount([index[axis] for index in observed])
        assert len(places) == 5 + 2 * padding
        assert stats.chisquare(places).pvalue > 1e-3


@pytest.mark.parametrize("size", [224, 225])
def test_flips(size):
    image = lesion(size, 6)
    for flip, reference in (
        (augment.HorizontalFlip(1.0), functional.hflip(Image.fromarray(image))),
        (augment.VerticalFlip(1.0), functional.vflip(Image.fromarray(image))),
    ):
        out, in_place = np.empty_like(image), image.copy()
        flip(image, np.random.default_rng(0), out)
        flip(in_place, np.random.default_rng(0), in_place)
        np.testing.assert_array_equal(out, np.asarray(reference))
        np.testing.assert_array_equal(in_place, out)


@pytest.mark.parametrize("make", [augment.HorizontalFlip, augment.VerticalFlip, augment.RandomGrayscale,
                                  lambda p: augment.RandomApply(augment.GaussianBlur(), p)])  # fmt: skip
def test_probabilities(make):
    operation, rng = make(0.3), np.random.default_rng(0)
    hits = sum(bool(operation.draw(rng, 8, 8)) for _ in range(2000))
    assert stats.binomtest(hits, 2000, 0.3).pvalue > 1e-3


def test_small_reductions_are_linear_and_large_ones_average():
    checker = np.indices((64, 64)).sum(0) % 2 * np.uint8(255)
    image, out = np.repeat(checker[..., None], 3, 2).astype(np.uint8), empty(16)
    geometry.resize(image, out)
    assert np.abs(out.astype(int) - 127).max() <= 1
