"""LMD's strong view, its blurs and intensities against scipy or loops with the same parameters."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf
from scipy import ndimage, stats

from ltmed.data import augment
from ltmed.errors import UserError
from tests.data.scenes import IMAGE, NOISE, WIDE, applied, scene

CONF = Path(__file__).resolve().parents[2] / "conf" / "augment"


OPERATIONS: dict[str, Callable[[], augment.Operation]] = {
    "box": augment.BoxBlur,
    "median": augment.MedianBlur,
    "motion": augment.MotionBlur,
    "turn": augment.ShiftScaleRotate,
    "grid": augment.GridDistortion,
    "elastic": augment.ElasticTransform,
    "optical": augment.OpticalDistortion,
    "rgb": augment.RGBShift,
    "brightness": augment.BrightnessContrast,
    "dropout": lambda: augment.GridDropout(random_offset=True),
    "one": lambda: augment.OneOf(box=augment.BoxBlur(), rgb=augment.RGBShift()),
}


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("image", [IMAGE, WIDE, NOISE], ids=["smooth", "wide", "noise"])
def test_in_place_repeatable_and_pickled(name, image):
    operation = OPERATIONS[name]()
    read_only = image.copy()
    read_only.flags.writeable = False
    outs = []
    for seed in range(6):
        again = pickle.loads(pickle.dumps(operation))
        out, second, in_place = np.full_like(image, 77), np.zeros_like(image), image.copy()
        operation(read_only, np.random.default_rng(seed), out)
        again(read_only, np.random.default_rng(seed), second)
        operation(in_place, np.random.default_rng(seed), in_place)
        np.testing.assert_array_equal(second, out)
        np.testing.assert_array_equal(in_place, out)
        outs.append(out.tobytes())
    assert operation.size is None
    assert image.tobytes() not in outs
    assert len(set(outs)) > 1


@pytest.mark.parametrize(
    "operation",
    [
        augment.BoxBlur((1, 1)),
        augment.MedianBlur((1, 1)),
        augment.ShiftScaleRotate(0, 0, 0),
        augment.GridDistortion(strength=0),
        augment.ElasticTransform(alpha=0, affine=0),
        augment.OpticalDistortion(0),
        augment.RGBShift(0, 0, 0),
        augment.BrightnessContrast(0, 0),
        augment.GridDropout(ratio=0),
    ],
    ids=lambda operation: type(operation).__name__,
)
@pytest.mark.parametrize("size", [(224, 224), (41, 52)])
def test_strength_zero_leaves_alone(operation, size):
    image, out = scene(*size), np.zeros((*size, 3), np.uint8)
    operation(image, np.random.default_rng(0), out)
    np.testing.assert_array_equal(out, image)


@pytest.mark.parametrize("side", [3, 5, 7])
def test_box_and_median(side):
    mean = ndimage.uniform_filter(NOISE.astype(float), (side, side, 1), mode="mirror")
    assert np.abs(applied(augment.BoxBlur(), NOISE, side) - mean).max() < 0.501
    median = ndimage.median_filter(NOISE, (side, side, 1), mode="nearest")
    np.testing.assert_array_equal(applied(augment.MedianBlur(), NOISE, side), median)


@pytest.mark.parametrize("seed", range(12))
def test_motion(seed):
    operation = augment.MotionBlur()
    side, (x0, y0), (x1, y1) = sampled = operation.draw(np.random.default_rng(seed), 9, 9)
    # A white pixel shows the kernel turned by 180 degrees.
    dot = np.zeros((15, 15, 3), np.uint8)
    dot[7, 7] = 255
    half = side // 2
    kernel = applied(operation, dot, sampled)[7 - half : 8 + half, 7 - half : 8 + half, 0][::-1, ::-1]
    length = max(abs(x1 - x0), abs(y1 - y0)) + 1
    assert set(kernel.ravel().tolist()) <= {0, round(255 / length)}
    cells = np.argwhere(kernel).tolist()
    assert len(cells) == length
    assert [y0, x0] in cells
    assert [y1, x1] in cells
    for y, x in cells:
        on_the_way = ((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / ((x1 - x0) ** 2 + (y1 - y0) ** 2)
        assert 0 <= on_the_way <= 1
        assert math.hypot(x0 + on_the_way * (x1 - x0) - x, y0 + on_the_way * (y1 - y0) - y) <= 0.5
    reference = ndimage.correlate(NOISE.astype(float), (kernel > 0)[..., None] / length, mode="mirror")
    assert np.abs(applied(operation, NOISE, sampled) - reference).max() < 0.51


def test_blur_draws():
    rng, motion = np.random.default_rng(0), augment.MotionBlur((3, 5))
    for operation in (augment.BoxBlur((3, 7)), augment.MedianBlur((3, 7))):
        observed = np.bincount([operation.draw(rng, 9, 9) for _ in range(1500)], minlength=8)
        assert np.flatnonzero(observed).tolist() == [3, 5, 7]
        assert stats.chisquare(observed[3::2]).pvalue > 1e-3
    sampled = [motion.draw(rng, 9, 9) for _ in range(3000)]
    assert all(start != end for _, start, end in sampled)
    assert stats.binomtest(sum(side == 3 for side, _, _ in sampled), 3000, 0.5).pvalue > 1e-3
    starts = [start for side, start, _ in sampled if side == 5]
    assert stats.chisquare(np.bincount([5 * y + x for x, y in starts], minlength=25)).pvalue > 1e-3


@pytest.mark.parametrize("drawn", [(20, -20, 3), (-255, 255, 0), (0, 0, -1)])
def test_rgb_shift(drawn):
    expected = np.clip(NOISE.astype(int) + np.array(drawn), 0, 255)
    np.testing.assert_array_equal(applied(augment.RGBShift(), NOISE, drawn), expected)


@pytest.mark.parametrize("drawn", [(0.8, 0.2), (1.2, -0.2), (1.07, 0.013), (0.0, 0.5), (2.0, -1.0)])
def test_brightness_contrast(drawn):
    expected = np.clip(drawn[0] * NOISE.astype(float) + 255 * drawn[1], 0, 255)
    assert np.abs(applied(augment.BrightnessContrast(), NOISE, drawn) - expected).max() < 0.501


def test_intensity_draws():
    rng, shift = np.random.default_rng(0), augment.RGBShift(2, 10, 0)
    levels = np.array([shift.draw(rng, 9, 9) for _ in range(2000)])
    assert stats.chisquare(np.bincount(levels[:, 0] + 2, minlength=5)).pvalue > 1e-3
    assert stats.chisquare(np.bincount(levels[:, 1] + 10, minlength=21)).pvalue > 1e-3
    assert not levels[:, 2].any()
    sampled = np.array([augment.BrightnessContrast(0.1, 0.4).draw(rng, 9, 9) for _ in range(1000)])
    assert stats.kstest(sampled[:, 0], "uniform", (0.6, 0.8)).pvalue > 1e-3
    assert stats.kstest(sampled[:, 1], "uniform", (-0.1, 0.2)).pvalue > 1e-3


@pytest.mark.parametrize(("height", "width"), [(224, 224), (37, 64), (8, 5)])
@pytest.mark.parametrize(("cells", "ratio"), [(10, 0.5), (3, 0.9), (4, 1.0), (1, 0.3)])
def test_dropout(height, width, cells, ratio):
    operation, image = augment.GridDropout(cells, ratio, random_offset=True), np.full((height, width, 3), 9, np.uint8)
    tops = set()
    for seed in range(8):
        top, remaining = operation.draw(np.random.default_rng(seed), height, width)
        expected = image.copy()
        unit_h, unit_w = max(2, height // cells), max(2, width // cells)
        hole_h, hole_w = min(int(unit_h * ratio), unit_h - 1), min(int(unit_w * ratio), unit_w - 1)
        for row in range(top, height, unit_h):
            for column in range(remaining, width, unit_w):
                expected[row : row + hole_h, column : column + hole_w] = 0
        np.testing.assert_array_equal(applied(operation, image, (top, remaining)), expected)
        assert 0 <= top <= unit_h - hole_h
        assert 0 <= remaining <= unit_w - hole_w
        tops.add(top)
    assert len(tops) > 1
    assert augment.GridDropout(cells, ratio).draw(np.random.default_rng(0), height, width) == (0, 0)


def test_dropout_takes_a_quarter():
    out = applied(augment.GridDropout(), np.full((220, 220, 3), 9, np.uint8), (0, 0))
    assert (out == 0).mean() == 0.25


@pytest.mark.parametrize("weights", [None, {"motion": 2}, {"motion": 0.0, "box": 3, "gone": 5}])
def test_one_of_frequencies(weights):
    parts = {"motion": augment.MotionBlur(), "gone": None, "median": augment.MedianBlur(), "box": augment.BoxBlur()}
    operation, rng = augment.OneOf(weights=weights, **parts), np.random.default_rng(0)
    sampled = [operation.draw(rng, 9, 9) for _ in range(3000)]
    observed = np.bincount([number for number, _ in sampled], minlength=3)
    expected = np.array([(weights or {}).get(name, 1) for name in ("motion", "median", "box")], float)
    assert not observed[expected == 0].any()
    expected *= 3000 / expected.sum()
    assert stats.chisquare(observed[expected > 0], expected[expected > 0]).pvalue > 1e-3


def test_one_of_applies_what_was_drawn():
    operation = augment.OneOf(rgb=augment.RGBShift(), box=augment.BoxBlur())
    np.testing.assert_array_equal(
        applied(operation, NOISE, (0, (1, 2, 3))), applied(augment.RGBShift(), NOISE, (1, 2, 3))
    )
    np.testing.assert_array_equal(applied(operation, NOISE, (1, 5)), applied(augment.BoxBlur(), NOISE, 5))


def view(name: str, size: int = 224, **changes):
    options = OmegaConf.merge(OmegaConf.load(CONF / f"{name}.yaml"), changes)
    return instantiate(OmegaConf.create({"image_size": size, "augment": options}).augment)


def test_strong_view_is_lmds():
    steps = view("lmd_strong").operations
    resize, *chances = steps
    assert isinstance(resize, augment.Resize)
    assert [step.p for step in chances] == [0.5, 0.5, 0.5, 0.5, 0.7, 0.5, 0.5, 0.2]
    blur, turn, distortion, shift, contrast, dropout = (step.operation for step in chances[2:])
    assert [type(one) for one in blur.operations] == [augment.MotionBlur, augment.MedianBlur, augment.BoxBlur]
    assert [one.sizes for one in blur.operations] == [(3, 7), (3, 3), (3, 3)]
    assert (turn.shift, turn.scale, turn.rotate) == (0.0625, 0.2, 45)
    assert [type(one) for one in distortion.operations] == [
        augment.GridDistortion, augment.ElasticTransform, augment.OpticalDistortion
    ]  # fmt: skip
    assert shift.levels.tolist() == [15, 15, 15]
    assert (contrast.brightness, contrast.contrast, dropout.cells, dropout.ratio) == (0.2, 0.2, 10, 0.5)


def test_strong_view_draws_with_its_probabilities():
    strong, rng = view("lmd_strong", 32), np.random.default_rng(0)
    sampled = [[bool(step.draw(rng, 32, 32)) for step in strong.operations[1:]] for _ in range(2000)]
    for hits, p in zip(np.sum(sampled, 0).tolist(), [0.5, 0.5, 0.5, 0.5, 0.7, 0.5, 0.5, 0.2], strict=True):
        assert stats.binomtest(hits, 2000, p).pvalue > 1e-3


def test_weak_view_is_the_whole_image_flipped():
    image, flips = scene(64, 64), view("flips", 64)
    observed = set()
    for seed in range(40):
        out = np.empty_like(image)
        flips(image, np.random.default_rng(seed), out)
        observed.add(out.tobytes())
    expected = (image, image[::-1], image[:, ::-1], image[::-1, ::-1])
    assert observed == {one.tobytes() for one in expected}


@pytest.mark.parametrize("name", ["lmd_strong", "flips"])
def test_views_keep_the_whole_image(name):
    # A mark in the very corner of a larger cached image survives where nothing random happens.
    image = np.zeros((256, 256, 3), np.uint8)
    image[:6, :6] = 255
    steps = view(name).operations
    out = np.empty((224, 224, 3), np.uint8)
    steps[0](image, np.random.default_rng(0), out)
    assert out[:4, :4].min() > 200


def test_steps_and_choices_can_be_removed():
    strong = view("lmd_strong", 32, dropout=None, blur={"operation": {"motion": None}})
    assert len(strong.operations) == 8
    assert len(strong.operations[3].operation.operations) == 2


@pytest.mark.parametrize(
    "mistake",
    [
        lambda: augment.BoxBlur((2, 5)),
        lambda: augment.BoxBlur((5, 3)),
        lambda: augment.MedianBlur((3, 6)),
        lambda: augment.MedianBlur((-1, 3)),
        lambda: augment.MotionBlur((1, 3)),
        lambda: augment.MotionBlur((3,)),
        lambda: augment.ShiftScaleRotate(shift=-0.1),
        lambda: augment.ShiftScaleRotate(scale=1.0),
        lambda: augment.ShiftScaleRotate(rotate=181),
        lambda: augment.GridDistortion(steps=0),
        lambda: augment.GridDistortion(steps=2.5),
        lambda: augment.GridDistortion(strength=1.1),
        lambda: augment.OpticalDistortion(math.nan),
        lambda: augment.ElasticTransform(sigma=0),
        lambda: augment.ElasticTransform(alpha=-1),
        lambda: augment.ElasticTransform(affine=math.nan),
        lambda: augment.RGBShift(red=256),
        lambda: augment.RGBShift(blue=0.5),
        lambda: augment.BrightnessContrast(brightness=1.5),
        lambda: augment.BrightnessContrast(contrast=-0.2),
        lambda: augment.GridDropout(cells=0),
        lambda: augment.GridDropout(ratio=1.5),
        lambda: augment.OneOf(),
        lambda: augment.OneOf(box=None),
        lambda: augment.OneOf(box=3),
        lambda: augment.OneOf(crop=augment.Resize(8)),
        lambda: augment.OneOf(box=augment.BoxBlur(), weights={"bux": 1}),
        lambda: augment.OneOf(box=augment.BoxBlur(), weights={"box": 0}),
        lambda: augment.OneOf(box=augment.BoxBlur(), rgb=augment.RGBShift(), weights={"box": -1}),
    ],
)
def test_mistakes(mistake):
    with pytest.raises(UserError):
        mistake()
