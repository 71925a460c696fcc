"""Every method on data that are at the edge of what it can use."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

import ltmed
from ltmed.errors import UserError
from tests.harness import METHODS, QUICK

SMALL = ["image_size=32", "backbone=smallest", "batch_size=14", "epochs=1", "trainer.accelerator=cpu", "figures=false"]


def write(root: Path, training: list[int]) -> None:
    """A folder of images with so many training images per class, and two of each for validation and test."""
    rng = np.random.default_rng(0)
    for label, number in enumerate(training):
        for part, count in (("train", number), ("val", 2), ("test", 2)):
            folder = root / part / f"class{label:03d}"
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = np.clip(rng.normal(40 + 10 * (label % 20), 40, (40, 40, 3)), 0, 255).astype(np.uint8)
                cv2.imwrite(str(folder / f"{part}{label:03d}_{index}.png"), pixels)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes, one with a single image; more classes than images in a batch; and their caches."""
    folder = tmp_path_factory.mktemp("odd")
    write(folder / "single", [30, 1])
    write(folder / "many", [3] * 20)
    return folder


def overrides(method: str, root: Path, tmp_path: Path) -> list[str]:
    places = [f"dataset.root={root}", f"runs={tmp_path / 'runs'}", f"cache_dir={root.parent / 'cache'}"]
    return [*SMALL, "dataset=image_folder", "split=official", f"method={method}", *QUICK.get(method, []), *places]


@pytest.mark.parametrize("method", METHODS)
def test_two_classes_one_with_a_single_image(
    method: str, folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ltmed.train(overrides(method, folders / "single", tmp_path))
    out = capsys.readouterr().out.lower()
    assert "balanced accuracy" in out
    assert "nan" not in out.replace("nance", "")


@pytest.mark.parametrize("method", METHODS)
def test_more_classes_than_images_in_a_batch(method: str, folders: Path, tmp_path: Path) -> None:
    command = overrides(method, folders / "many", tmp_path)
    if any(equally in method for equally in ("pcct", "cicl")):  # Equally many images of each class in every batch.
        with pytest.raises(UserError, match="classes_per_batch"):
            ltmed.train(command)
    else:
        assert "balanced_accuracy" in ltmed.train(command).metrics["test"]["scalars"]
