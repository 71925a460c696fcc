"""MedMNIST: archives unpacked once into PNG files, whole or not at all."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from ltmed.data.readers import _npz
from ltmed.data.readers._medmnist_files import SIZES as PIXELS
from ltmed.data.readers._medmnist_files import archive
from ltmed.data.readers._npz import extract
from ltmed.data.readers.medmnist import SETS, MedMNIST
from ltmed.data.splits.coverage import require_training_images
from ltmed.data.splits.protocols import official
from ltmed.errors import UserError
from tests.data.readers.folder_trees import reader

pytestmark = pytest.mark.filterwarnings("ignore:medmnist.*HAM10000")
SIZES = {"train": 21, "val": 7, "test": 8}


def arrays(side: int = 28, colours: bool = True, classes: int = 7, flat: bool = False) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    made = {}
    for part, number in SIZES.items():
        shape = (number, side, side, 3) if colours else (number, side, side)
        made[f"{part}_images"] = rng.integers(0, 256, shape).astype(np.uint8)
        labels = (np.arange(number) % classes).astype(np.uint8)
        made[f"{part}_labels"] = labels if flat else labels[:, None]
    return made


def read(root: Path, flag: str = "dermamnist", size: int = 28, extract_to: str | None = None):
    return reader(MedMNIST, flag=flag, size=size, extract_to=extract_to).read(root)


@pytest.mark.parametrize("colours", [True, False])
@pytest.mark.parametrize("size", [28, 64])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_every_pixel_label_and_part_is_kept(tmp_path, monkeypatch, colours, size, save):
    monkeypatch.setattr(_npz, "_BATCH", 5)
    data = arrays(size, colours)
    save(tmp_path / ("dermamnist.npz" if size == 28 else f"dermamnist_{size}.npz"), **data)
    manifest = read(tmp_path, size=size)
    assert manifest.root == tmp_path / f"dermamnist_{size}"
    assert list(manifest.images) == sorted(manifest.images)
    assert manifest.classes == ("AKIEC", "BCC", "BKL", "DF", "MEL", "NV", "VASC")
    for part, number in SIZES.items():
        rows = np.flatnonzero(manifest.parts == part)
        assert len(rows) == number
        np.testing.assert_array_equal(manifest.labels[rows], data[f"{part}_labels"].ravel())
        for row, image in zip(rows, data[f"{part}_images"], strict=True):
            actual = cv2.imread(str(manifest.root / manifest.images[row]))[:, :, ::-1]
            np.testing.assert_array_equal(actual, image if colours else np.dstack([image] * 3))
    split = official(manifest, 0)
    assert [len(rows) for rows in split.parts.values()] == list(SIZES.values())
    require_training_images(split, manifest)


def test_unpacking_happens_once_and_the_archive_may_go(tmp_path):
    npz = tmp_path / "pneumoniamnist_64.npz"
    np.savez(npz, **arrays(64, False, 2, flat=True))
    first = read(tmp_path, "pneumoniamnist", 64)
    stamps = [(tmp_path / "pneumoniamnist_64" / image).stat().st_mtime_ns for image in first.images]
    npz.touch()
    assert read(tmp_path, "pneumoniamnist", 64).images == first.images
    npz.unlink()
    assert read(tmp_path, "pneumoniamnist", 64).labels.tolist() == first.labels.tolist()
    assert stamps == [(tmp_path / "pneumoniamnist_64" / image).stat().st_mtime_ns for image in first.images]
    assert first.classes == ("normal", "pneumonia")


def test_it_can_be_unpacked_elsewhere(tmp_path):
    (tmp_path / "archives").mkdir()
    np.savez(tmp_path / "archives/dermamnist.npz", **arrays())
    manifest = read(tmp_path / "archives", extract_to=str(tmp_path / "fast/disk"))
    assert manifest.root == tmp_path / "fast/disk/dermamnist_28"
    assert [path.name for path in (tmp_path / "archives").iterdir()] == ["dermamnist.npz"]


def test_processes_that_start_together_make_one_folder(tmp_path, monkeypatch):
    npz, made = tmp_path / "dermamnist.npz", []
    np.savez(npz, **arrays())
    original = _npz._extract_new
    monkeypatch.setattr(_npz, "_extract_new", lambda *arguments: made.append(1) or original(*arguments))
    with ThreadPoolExecutor(4) as pool:
        tables = list(pool.map(lambda _: extract(npz, tmp_path / "out"), range(4)))
    assert len(made) == 1
    assert set(tables) == {tmp_path / "out/manifest.csv"}


def test_a_stopped_extraction_leaves_no_data_set(tmp_path, monkeypatch):
    np.savez(tmp_path / "dermamnist.npz", **arrays())
    written, original = [], _npz._write

    def stop(path, image):
        written.append(path)
        if len(written) > 9:
            raise KeyboardInterrupt
        original(path, image)

    with monkeypatch.context() as patch:
        patch.setattr(_npz, "_write", stop)
        with pytest.raises(KeyboardInterrupt):
            read(tmp_path)
    assert not (tmp_path / "dermamnist_28").exists()
    assert len(read(tmp_path)) == sum(SIZES.values())
    assert not list(tmp_path.glob("*.partial"))


def test_a_folder_of_another_archive_is_refused(tmp_path):
    np.savez(tmp_path / "dermamnist.npz", **arrays())
    read(tmp_path)
    data = arrays()
    data["test_labels"][0] = 3
    np.savez(tmp_path / "dermamnist.npz", **data)
    with pytest.raises(UserError, match="dermamnist_28 was made from another archive than .*dermamnist.npz. Remove"):
        read(tmp_path)
    (tmp_path / "dermamnist_28/manifest.csv").unlink()
    with pytest.raises(UserError, match="is in use for something else"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data | {"val_labels": np.zeros((7, 14), np.uint8)}, r"14 labels per image .* multi-label"),
        (lambda data: data | {"test_images": np.zeros((8, 28, 28, 28), np.uint8)}, "holds volumes"),
        (lambda data: data | {"test_images": np.zeros((8, 28, 28), np.float32)}, "float32 .*not 8 images of uint8"),
        (lambda data: data | {"test_images": np.zeros((5, 28, 28), np.uint8)}, "not 8 images"),
        (lambda data: data | {"test_labels": np.zeros((8, 1))}, "not one integer per image"),
        (lambda data: data | {"test_labels": np.full((8, 1), -1)}, "empty, truncated or negative"),
        (
            lambda data: data | {"test_labels": np.full((8, 1), 9)},
            "has a class 9, but dermamnist has the classes 0 to 6",
        ),
        (lambda data: data | {"test_images": np.asfortranarray(data["test_images"])}, "stored by columns"),
        (lambda data: {key: data[key] for key in data if key != "val_images"}, "no array val_images, only test_images"),
    ],
)
def test_archives_of_another_kind_are_named(tmp_path, change, message):
    np.savez(tmp_path / "dermamnist.npz", **change(arrays()))
    with pytest.raises(UserError, match=message) as caught:
        read(tmp_path)
    assert str(tmp_path / "dermamnist.npz") in str(caught.value)


def test_a_damaged_archive_is_named(tmp_path):
    path = tmp_path / "dermamnist.npz"
    np.savez(path, **arrays())
    data = bytearray(path.read_bytes())
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match="cannot be opened as an npz archive"):
        read(tmp_path)
    data[2000] ^= 255
    path.write_bytes(data)
    with pytest.raises(UserError, match="is damaged: Bad CRC"):
        read(tmp_path)


def test_missing_archives_and_unknown_options_are_named(tmp_path):
    np.savez(tmp_path / "pathmnist_64.npz", **arrays(64))
    with pytest.raises(UserError, match=r"dermamnist.npz does not exist. There are pathmnist_64.npz. Expected layout"):
        read(tmp_path)
    with pytest.raises(UserError, match="Did you mean 'dermamnist'"):
        read(tmp_path, "dermanist")
    for options, message in (
        ({"size": 32}, "dataset.size=32 does not exist. MedMNIST has 28, 64, 128, 224"),
        ({"flag": "chestmnist"}, "dataset=chestmnist"),
        ({"flag": "organmnist3d"}, "set of volumes"),
    ):
        with pytest.raises(UserError, match=message):
            MedMNIST(**options)


def test_other_sets_have_numbered_classes(tmp_path):
    np.savez(tmp_path / "mymnist.npz", **arrays(classes=4))
    assert read(tmp_path, "mymnist").classes == ("0", "1", "2", "3")


@pytest.mark.filterwarnings("default:medmnist")
def test_the_leakage_of_dermamnist_is_warned_about(tmp_path):
    np.savez(tmp_path / "dermamnist.npz", **arrays())
    with pytest.warns(UserWarning, match="about a third of its test images have a training image of the same lesion"):
        assert "no lesion ids" in official(read(tmp_path), 0).describe(read(tmp_path))


def test_numbers_of_classes(shared):
    known = {"pathmnist": 9, "bloodmnist": 8, "tissuemnist": 8, "octmnist": 4, "retinamnist": 5, "organamnist": 11}
    assert {flag: len(SETS[flag]) for flag in known} == known
    assert all(len(set(names.values())) == len(names) for names in SETS.values())
    facts = json.loads((shared / "splits/class_counts.json").read_text())["dermamnist"]
    known_sums = {item.name: item.md5 for item in MedMNIST.downloads}
    assert known_sums["dermamnist.npz"] == facts["md5"]["dermamnist.npz"]
    for name, full in zip(SETS["dermamnist"].values(), facts["full_names"], strict=True):
        assert name.split()[0][:5] == full.split()[0][:5]


def test_every_set_has_an_archive_of_every_size():
    names = [item.name for item in MedMNIST.downloads]
    assert sorted(names) == sorted(archive(flag, size) for flag in SETS for size in PIXELS)
    sums = [item.md5 for item in MedMNIST.downloads]
    assert all(known is not None and len(known) == 32 and int(known, 16) for known in sums)
    assert len(set(sums)) == len(sums)
