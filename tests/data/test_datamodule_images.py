"""From the settings of a data set to its images and warnings, and to what a finished run makes of a new image."""

from __future__ import annotations

import hashlib
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
from ltmed.errors import UserError
from ltmed.inference.preprocessing import _preprocessing
from ltmed.training.targets import counts_of
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


def damaged(folder: Path, labels: str, rows: list[int], **settings) -> DataModule:
    """One image per letter of `labels`, all of the training part but the last two; `rows` are damaged."""
    manifest_rows = np.arange(len(labels))
    (folder / "data").mkdir()
    for n in manifest_rows.tolist():
        (folder / f"data/{n:02d}.png").write_bytes(b"damaged" if n in rows else encoded(picture(n, 8, 8), "PNG"))

    class Lettered(DataModule):
        name = "lettered"

        def read(self, root: Path) -> Manifest:
            codes = tuple(sorted(set(labels)))
            return Manifest(
                name=self.name, root=root, images=tuple(f"{n:02d}.png" for n in manifest_rows),
                labels=np.array([codes.index(label) for label in labels]), classes=codes, class_names=codes,
            )  # fmt: skip

    def split(manifest: Manifest, fold: int) -> Split:
        return Split("toy", manifest_rows[:-2], manifest_rows[-2:-1], manifest_rows[-1:])

    return Lettered(
        root=str(folder / "data"), image_size=8, cache_scale=1.0, split=split, evaluation=EvaluationView(8),
        cache_dir=str(folder / "cache"), on_bad_image="skip", **settings,
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_counts_tiers_and_digest_are_of_the_images_that_can_be_read(tmp_path):
    # Training images a4 b3 c2; two of b are damaged: a4 b1 c2.
    data = damaged(tmp_path, "aaaabbbccac", [4, 5])
    before = data.digest
    assert (data.counts.tolist(), data.listed_digest) == ([4, 3, 2], before)
    assert data.tiers == {"head": [0], "medium": [1], "tail": [2]}
    data.open()
    assert data.counts.tolist() == counts_of(data).tolist() == [4, 1, 2]
    assert data.tiers == {"head": [0], "medium": [2], "tail": [1]}
    lines = [f"train {n:02d} {label}" for n, label in enumerate("aaaabbbcc") if n not in (4, 5)]
    text = "".join(f"{line}\n" for line in sorted([*lines, "val 09 a", "test 10 c"]))
    assert data.digest == hashlib.sha256(text.encode()).hexdigest()[:12] != before
    assert data.listed_digest == before


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_listed_tiers_stay(tmp_path):
    data = damaged(tmp_path, "aaaabbbccac", [4, 5], head=["b"], tail=["a"])
    data.open()
    assert data.tiers == {"head": [1], "medium": [2], "tail": [0]}


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_class_whose_training_images_are_all_damaged_is_refused(tmp_path):
    data = damaged(tmp_path, "aaaabbbccbc", [4, 5, 6])
    expected = r"^split=toy of lettered without the 3 unreadable images has no training image of class b \(4 in all\)"
    with pytest.raises(UserError, match=expected) as error:
        data.open()
    assert error.value.hint == "Restore these images (dataset.on_bad_image=error lists them)."


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
