"""Every method on data that are at the edge of what it can use."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.harness import METHODS, QUICK, ok, run_command

SMALL = ["image_size=32", "backbone=tiny", "batch_size=14", "epochs=1", "trainer.accelerator=cpu", "figures=false"]


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


def command(method: str, root: Path, tmp_path: Path) -> list[str]:
    places = [f"dataset.root={root}", f"runs={tmp_path / 'runs'}", f"cache_dir={tmp_path / 'cache'}"]
    return [*SMALL, "dataset=image_folder", "split=official", f"method={method}", *QUICK.get(method, []), *places]


@pytest.mark.parametrize("method", METHODS)
def test_two_classes_one_with_a_single_image(method: str, tmp_path: Path) -> None:
    write(tmp_path / "images", [30, 1])
    done = ok(run_command(*command(method, tmp_path / "images", tmp_path), cwd=tmp_path))
    assert "balanced accuracy" in done.out
    assert "nan" not in done.out.lower().replace("nance", "")


@pytest.mark.parametrize("method", METHODS)
def test_more_classes_than_images_in_a_batch(method: str, tmp_path: Path) -> None:
    write(tmp_path / "images", [3] * 20)
    done = run_command(*command(method, tmp_path / "images", tmp_path), cwd=tmp_path)
    if any(equally in method for equally in ("pcct", "cicl")):  # Equally many images of each class in every batch.
        assert done.code == 2
        assert "classes_per_batch" in done.err
    else:
        assert "balanced accuracy" in ok(done).out
