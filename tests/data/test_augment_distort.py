"""Turns and distortions against places computed pixel by pixel and scipy's bilinear interpolation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage, stats

from ltmed.data import augment
from ltmed.data.augment.distort import ShiftScaleRotateParameters
from tests.data.scenes import IMAGE, WIDE, applied, scene


def sampled(image: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Bilinear, mirrored at the border without repeating it: float [h, w, 3]."""
    places = [rows, columns]
    channels = [
        ndimage.map_coordinates(c.astype(float), places, order=1, mode="mirror") for c in np.moveaxis(image, 2, 0)
    ]
    return np.stack(channels, -1)


def assert_same_picture(ours: np.ndarray, theirs: np.ndarray) -> None:
    """OpenCV takes places to 1/32 pixel, which is less than a grey level on a smooth image, and rounds."""
    distance = np.abs(ours - theirs)
    assert distance.mean() < 0.5
    assert distance.max() < 3


@pytest.mark.parametrize("image", [IMAGE, WIDE], ids=["square", "wide"])
@pytest.mark.parametrize("seed", range(4))
def test_turn(image, seed):
    operation = augment.ShiftScaleRotate(0.2, 0.3, 180)
    drawn = operation.draw(np.random.default_rng(seed), *image.shape[:2])
    h, w = image.shape[:2]
    centre = complex((w - 1) / 2, (h - 1) / 2)
    rows, columns = np.empty((h, w)), np.empty((h, w))
    # In the complex plane; rows grow downwards, so that turning the picture left multiplies by e^{-i angle}.
    for y in range(h):
        for x in range(w):
            offset = complex(x, y) - centre - complex(drawn.right * w, drawn.down * h)
            source = centre + offset / drawn.scale * complex(
                math.cos(math.radians(drawn.angle)), math.sin(math.radians(drawn.angle))
            )
            rows[y, x], columns[y, x] = source.imag, source.real
    assert_same_picture(applied(operation, image, drawn), sampled(image, rows, columns))


def test_quarter_turns_and_whole_shifts_are_exact():
    turn = augment.ShiftScaleRotate()
    np.testing.assert_array_equal(applied(turn, IMAGE, ShiftScaleRotateParameters(90, 1, 0, 0)), np.rot90(IMAGE))
    np.testing.assert_array_equal(
        applied(turn, IMAGE, ShiftScaleRotateParameters(0, 1, 0.1, -0.2))[:72, 9:], IMAGE[18:, :81]
    )


def test_turn_draws():
    rng = np.random.default_rng(0)
    drawn = np.array([augment.ShiftScaleRotate(0.1, 0.2, 30).draw(rng, 9, 9) for _ in range(1000)])
    for column, (low, high) in zip(drawn.T, [(-30, 30), (0.8, 1.2), (-0.1, 0.1), (-0.1, 0.1)], strict=True):
        assert stats.kstest(column, "uniform", (low, high - low)).pvalue > 1e-3


@pytest.mark.parametrize("image", [IMAGE, WIDE], ids=["square", "wide"])
@pytest.mark.parametrize("steps", [1, 4, 5])
def test_grid(image, steps):
    operation = augment.GridDistortion(steps, 0.3)
    drawn = operation.draw(np.random.default_rng(steps), *image.shape[:2])
    places = []
    for side, factors in zip(image.shape[1::-1], drawn.tolist(), strict=True):
        cell, line = side / steps, []
        for index in range(side):
            number = int(index / cell)
            line.append(cell * sum(factors[:number]) + (index - number * cell) * factors[number])
        places.append(line)
    columns, rows = np.meshgrid(*places)
    assert_same_picture(applied(operation, image, drawn), sampled(image, rows, columns))


@pytest.mark.parametrize("image", [IMAGE, WIDE], ids=["square", "wide"])
@pytest.mark.parametrize("k", [-0.3, 0.05, 0.5])
def test_optical(image, k):
    h, w = image.shape[:2]
    rows, columns = np.empty((h, w)), np.empty((h, w))
    for y in range(h):
        for x in range(w):
            u, v = (x - (w - 1) / 2) / w, (y - (h - 1) / 2) / h
            square = u**2 + v**2
            factor = 1 + k * square + k * square**2
            rows[y, x], columns[y, x] = v * h * factor + (h - 1) / 2, u * w * factor + (w - 1) / 2
    assert_same_picture(applied(augment.OpticalDistortion(), image, k), sampled(image, rows, columns))


def test_distortion_draws():
    rng = np.random.default_rng(0)
    factors = np.concatenate([augment.GridDistortion(5, 0.2).draw(rng, 9, 9).ravel() for _ in range(200)])
    assert stats.kstest(factors, "uniform", (0.8, 0.4)).pvalue > 1e-3
    bends = [augment.OpticalDistortion(0.1).draw(rng, 9, 9) for _ in range(1000)]
    assert stats.kstest(bends, "uniform", (-0.1, 0.2)).pvalue > 1e-3
    drawn = [augment.ElasticTransform(sigma=4, affine=7).draw(rng, 20, 30) for _ in range(200)]
    assert stats.kstest(np.concatenate([moved.ravel() for moved, _ in drawn]), "uniform", (-7, 14)).pvalue > 1e-3
    noise = np.concatenate([noise.ravel() for _, noise in drawn[:5]])
    assert noise.shape == (5 * 20 * 30 * 2,)
    assert stats.kstest(noise, "uniform", (-1, 2)).pvalue > 1e-3


@pytest.mark.parametrize("image", [IMAGE, WIDE], ids=["square", "wide"])
@pytest.mark.parametrize("affine", [0, 12])
def test_elastic(image, affine):
    operation = augment.ElasticTransform(alpha=60, sigma=4, affine=affine)
    h, w = image.shape[:2]
    moved, noise = drawn = operation.draw(np.random.default_rng(affine), h, w)
    field = 60 * ndimage.gaussian_filter(noise.astype(float), (4, 4, 0), mode="reflect")
    np.testing.assert_allclose(operation.displacements(noise, h, w), field, atol=1e-3)
    assert np.abs(field).max() > 2
    # The affine map that sends the three points to where they moved, undone for every pixel of the result.
    s = min(h, w) // 3
    points = np.array([w // 2, h // 2]) + np.array([[s, s], [s, -s], [-s, -s]])
    forward = np.linalg.solve(np.c_[points, np.ones(3)], points + moved).T
    rows, columns = np.empty((h, w)), np.empty((h, w))
    for y in range(h):
        for x in range(w):
            there = np.array([x, y]) + field[y, x]
            columns[y, x], rows[y, x] = np.linalg.solve(forward[:, :2], there - forward[:, 2])
    assert_same_picture(applied(operation, image, drawn), sampled(image, rows, columns))


def test_coarse_noise_has_the_law_of_fine_noise():
    operation, rng, sigma, side = augment.ElasticTransform(alpha=1, sigma=12), np.random.default_rng(0), 12, 60
    assert operation.spacing == 3
    actual, reference = [], []
    for _ in range(250):
        actual.append(operation.displacements(operation.draw(rng, side, side)[1], side, side))
        fine = rng.uniform(-1, 1, (side, side, 2))
        reference.append(ndimage.gaussian_filter(fine, (sigma, sigma, 0), mode="reflect"))
    a, b = np.array(actual), np.array(reference)
    assert a.shape == b.shape
    for y, x in [(30, 30), (0, 59), (31, 5)]:
        assert stats.ks_2samp(a[:, y, x].ravel(), b[:, y, x].ravel()).pvalue > 1e-3
    for apart in (1, 8, 25):
        near, far = ((f[:, 15, 15] - f[:, 15, 15 + apart]).ravel() for f in (a, b))
        assert 0.75 < near.std() / far.std() < 1.33


def test_elastic_at_its_defaults_is_nearly_affine():
    operation = augment.ElasticTransform()
    noise = operation.draw(np.random.default_rng(0), 224, 224)[1]
    assert 0 < np.abs(operation.displacements(noise, 224, 224)).max() < 0.05


def test_elastic_survives_points_on_one_line():
    operation, image = augment.ElasticTransform(), scene(16, 16)
    line = np.array([[0.0, 0.0], [0.0, 5.0], [0.0, 10.0]])  # All three to one place.
    for moved in (line, line + 1e-6):
        applied(operation, image, (moved, np.zeros((2, 2, 2), np.float32)))
