"""ChestMNIST: the labels, parts and pixels of an archive of the published form."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ltmed.data.readers.chestmnist import FINDINGS
from ltmed.errors import UserError
from tests.data.readers.reading import read

SIZES = {"train": 40, "val": 12, "test": 20}


def arrays(side: int = 28) -> dict[str, np.ndarray]:
    """Grey squares; image n has the labels of the bits of n, so that some have none."""
    rng = np.random.default_rng(0)
    made = {}
    for part, number in SIZES.items():
        made[f"{part}_images"] = rng.integers(0, 256, (number, side, side)).astype(np.uint8)
        made[f"{part}_labels"] = np.array([[n * 403 >> k & 1 for k in range(14)] for n in range(number)], np.uint8)
    return made


@pytest.mark.parametrize("size", [28, 64])
def test_every_label_pixel_and_part_is_kept(tmp_path, size):
    data = arrays(size)
    name = "chestmnist" if size == 28 else f"chestmnist_{size}"
    np.savez(tmp_path / f"{name}.npz", **data)
    actual, _ = read("chestmnist", tmp_path, f"dataset.size={size}", "split=official")
    assert actual.root == tmp_path / f"chestmnist_{size}"
    assert actual.classes == FINDINGS
    for part, number in SIZES.items():
        rows = np.flatnonzero(actual.parts == part)
        assert len(rows) == number
        np.testing.assert_array_equal(actual.labels[rows], data[f"{part}_labels"])
        for row, image in zip(rows, data[f"{part}_images"], strict=True):
            np.testing.assert_array_equal(cv2.imread(str(actual.root / actual.images[row]), 0), image)
    assert actual.labels.dtype == np.float32
    (tmp_path / f"{name}.npz").unlink()
    again, _ = read("chestmnist", tmp_path, f"dataset.size={size}")
    np.testing.assert_array_equal(again.labels, actual.labels)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"val_labels": np.zeros((12, 1), np.uint8)}, "for 14 labels"),
        ({"val_labels": np.zeros((12, 8), np.uint8)}, "for 14 labels"),
        ({"val_labels": np.full((12, 14), 2, np.uint8)}, "not 0 and 1"),
        ({"val_labels": np.zeros((12, 14))}, "float64"),
        ({"test_images": np.zeros((3, 28, 28), np.uint8)}, "not 20 images"),
    ],
)
def test_archives_of_another_kind_are_named(tmp_path, change, message):
    np.savez(tmp_path / "chestmnist.npz", **arrays() | change)
    with pytest.raises(UserError, match=message):
        read("chestmnist", tmp_path)


def test_a_missing_archive_and_an_unknown_size_are_named(tmp_path):
    with pytest.raises(UserError, match=r"chestmnist_64.npz does not exist"):
        read("chestmnist", tmp_path, "dataset.size=64")
    with pytest.raises(UserError, match="dataset.size=32"):
        read("chestmnist", tmp_path, "dataset.size=32")
