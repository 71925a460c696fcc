"""From the settings of a data set to its images and warnings, and to what a finished run makes of a new image."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from ltmed.data.augment import EvaluationView
from ltmed.data.cache.decode import decode_square
from ltmed.data.cache.intensity import Intensity
from ltmed.data.datamodule import DataModule
from ltmed.data.manifest import Manifest
from ltmed.data.splits.protocols import Split
from ltmed.inference.preprocessing import _preprocessing
from tests.data.images import encoded, folder_of, picture
from tests.test_presets import composed

TWELVE = np.linspace(0, 4000, 32 * 32).reshape(32, 32).astype(np.uint16)


class Toy(DataModule):
    """Twelve images of two classes."""

    name = "toy"

    def read(self, root: Path) -> Manifest:
        files = {f"{n:02d}.png": encoded(picture(n, 20, 20), "PNG") for n in range(11)}
        return folder_of(root, {**files, "11.png": cv2.imencode(".png", TWELVE)[1].tobytes()})


def data_module(folder: Path, val: list[int], **settings) -> Toy:
    def split(manifest: Manifest, fold: int) -> Split:
        rest = np.setdiff1d(np.arange(12), [*val, 10, 11])
        return Split("toy", rest, np.array(val), np.array([10, 11]))

    return Toy(
        root=str(folder / "data"), image_size=32, cache_scale=1.0, split=split, evaluation=EvaluationView(32),
        cache_dir=str(folder / "cache"), **settings,
    )  # fmt: skip


def test_a_class_that_validation_lacks_is_among_the_warnings(tmp_path):
    with pytest.warns(UserWarning, match="1 of 2 classes have no validation image"):
        data = data_module(tmp_path, [0, 2])
    assert any("1 of 2 classes have no validation image (b)" in text for text in data.warnings)
    data = data_module(tmp_path, [0, 1])
    assert data.warnings == ()


def test_a_class_that_loses_its_validation_image_to_a_damaged_file_is_too(tmp_path):
    data = data_module(tmp_path, [0, 1], on_bad_image="skip")
    (tmp_path / "data/01.png").write_bytes(b"damaged")
    with pytest.warns(UserWarning, match="no validation image"):
        data.open()
    assert any("1 of 2 classes have no validation image (b)" in text for text in data.warnings)


@pytest.mark.parametrize(("option", "white"), [("auto", 255), ([0, 8000], 128)])
def test_the_setting_reaches_the_images(tmp_path, option, white):
    data = data_module(tmp_path, [0, 1], intensity=option)
    data.open()
    assert data.cache is not None
    assert abs(int(data.cache.pixels[11].max()) - white) <= 1


@pytest.mark.parametrize("option", ["auto", "range", "[0,8000]"])
def test_a_new_image_is_treated_as_the_images_of_the_run(option):
    pixels = ("pixels.mean=[0.5,0.5,0.5]", "pixels.std=[0.5,0.5,0.5]", "pixels.interpolation=bilinear")
    cfg = composed("method=erm", "dataset=phantom", f"dataset.intensity={option}", *pixels)
    intensity = Intensity.of([0, 8000] if "[" in option else option)
    cached = {"side": 73, "fit": "squash", "store": "raw", "intensity": asdict(intensity)}
    made = _preprocessing(SimpleNamespace(config=cfg, facts={"pixels": cached}))  # pyright: ignore
    data = cv2.imencode(".png", TWELVE)[1].tobytes()
    expected = decode_square(data, made.cache_size, made.fit, intensity=intensity)
    observed = np.empty((made.size, made.size, 3), np.uint8)
    made.view(expected, np.random.default_rng(0), observed)
    np.testing.assert_array_equal(made(data), observed)
    assert abs(int(observed.max()) - (128 if "[" in option else 255)) <= 20
