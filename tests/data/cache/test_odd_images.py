"""Odd images, names, links and folders, from the file on the disk to the cached pixels."""

from __future__ import annotations

import errno
import multiprocessing
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from ltmed.data.cache.images import open_cache
from ltmed.data.manifest import Manifest
from ltmed.data.readers import _files, _walk
from ltmed.data.readers._files import class_folders, scan, walk
from ltmed.data.readers.image_folder import ImageFolder
from ltmed.data.splits.protocols import random
from ltmed.errors import UserError
from tests.data.images import difference, encoded, folder_of, jpegs, picture, squashed
from tests.data.readers.test_image_folder import read as read_folder
from tests.data.readers.test_manifest_reader import read as read_table
from tests.harness import ok, run_process

S = 32
BUDGETS = [20, 0]
NAMES = [
    "it's.jpg", 'say "x".jpg', "a b  c.jpg", "[1](2){3}.jpg", "nævus ö.jpg", "母斑.jpg", "a,b;c.jpg", "50%.jpg",
    "a=b.jpg", "$HOME.jpg", "#1.jpg", "-rf.jpg", "a\\b.jpg", "two..dots.jpg", "N\u0303.jpg",
]  # fmt: skip


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[274] = orientation
    return exif


@pytest.mark.parametrize("budget", BUDGETS)
def test_every_kind_of_image_in_one_cache(tmp_path, budget):
    blobs = Image.fromarray(picture(4, 40, 60))
    grey = np.asarray(blobs.convert("L")).astype(np.float32)
    sixteen = (grey * 16).astype(np.uint16) + 77
    files = {
        "alpha.png": encoded(blobs.convert("RGBA"), "PNG"),
        "bilevel.png": encoded(blobs.convert("1"), "PNG"),
        "cmyk.jpg": encoded(blobs.convert("CMYK")),
        "grey.jpg": encoded(blobs.convert("L")),
        "grey.png": encoded(blobs.convert("L"), "PNG"),
        "grey_alpha.png": encoded(blobs.convert("LA"), "PNG"),
        "palette.png": encoded(blobs.convert("P"), "PNG"),
        "progressive.jpg": encoded(blobs, progressive=True),
        "turned.jpg": encoded(blobs, exif=_exif(6)),
        "turned.png": encoded(blobs, "PNG", exif=_exif(8)),
        "wrong_name.png": encoded(blobs),
    }
    expected = {name: squashed(data, S) for name, data in files.items()}
    files["sixteen.png"] = cv2.imencode(".png", sixteen)[1].tobytes()
    stretched = np.rint((grey - grey.min()) * (255 / np.ptp(grey))).astype(np.uint8)
    expected["sixteen.png"] = squashed(encoded(stretched, "PNG"), S)
    manifest = folder_of(tmp_path / "data", files)
    pixels = open_cache(manifest, S, tmp_path / "cache", budget_gb=budget).pixels
    for row, name in enumerate(manifest.images):
        assert difference(pixels[row], expected[name]) < (1.5 if budget else 4), name


@pytest.mark.parametrize("budget", BUDGETS)
def test_zero_bytes_and_truncated_files_of_every_kind_are_listed(tmp_path, budget):
    image = picture(0, 45, 60)
    whole = {kind: encoded(image, kind) for kind in ("JPEG", "PNG", "TIFF", "BMP", "WEBP")}
    files = {f"cut.{kind}": data[: len(data) // 2] for kind, data in whole.items()}
    files |= {f"empty.{kind}": b"" for kind in whole} | {"good.jpg": whole["JPEG"]}
    manifest = folder_of(tmp_path / "data", files)
    with pytest.raises(UserError, match=f"{len(files) - 1} of {len(files)} images") as error:
        open_cache(manifest, S, tmp_path / "cache", budget_gb=budget)
    for name in set(files) - {"good.jpg"}:
        assert f"  {name}: " in str(error.value)


@pytest.mark.parametrize("budget", BUDGETS)
def test_odd_names_of_classes_and_images_reach_the_cache(tmp_path, budget):
    classes = ["it's [a] class", 'ö, "b" {c}']
    for label in classes:
        (tmp_path / "da [ta]" / label).mkdir(parents=True)
        for seed, name in enumerate(NAMES):
            (tmp_path / "da [ta]" / label / name).write_bytes(encoded(picture(seed, 40, 40)))
    folder = ImageFolder(
        root=str(tmp_path / "da [ta]"), image_size=28, cache_dir=str(tmp_path / "ca [che]"), cache_budget_gb=budget,
        split=random, evaluation=None, name="it's [mine]",
    )  # type: ignore[arg-type]  # fmt: skip
    assert folder.manifest.classes == tuple(sorted(classes))
    assert sorted(folder.manifest.images) == sorted(f"{label}/{name}" for label in classes for name in NAMES)
    folder.open()
    assert folder.cache is not None
    for row, image in enumerate(folder.manifest.images):
        data = (folder.manifest.root / image).read_bytes()
        assert difference(folder.cache.pixels[row], squashed(data, S)) < (0.7 if budget else 3)


def test_odd_names_in_a_table(tmp_path):
    names = [name for name in NAMES if "\\" not in name]  # In tables it separates folders, as on Windows.
    folder_of(tmp_path / "pictures [1]", {name: encoded(picture(0, 8, 8)) for name in names})
    cells = ['"{}"'.format(f"pictures [1]/{name}".replace('"', '""')) for name in names]
    lines = [f"{cell},{'ab'[row % 2]}" for row, cell in enumerate(cells)]
    (tmp_path / "manifest.csv").write_text("\n".join(["image,label", *lines]), encoding="utf-8")
    assert sorted(read_table(tmp_path).images) == sorted(f"pictures [1]/{name}" for name in names)


def test_a_name_that_is_not_utf8_is_named_if_it_is_an_image(tmp_path):
    (tmp_path / "a").mkdir()
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/a/n\xe6vus.txt")).touch()
    assert class_folders(tmp_path) == {"a": []}
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/a/n\xe6vus.jpg")).touch()
    with pytest.raises(UserError, match=r"n\\xe6vus.jpg' is not UTF-8.*Rename"):
        class_folders(tmp_path)


def test_links_to_themselves_and_to_nothing_are_listed_as_unreadable(tmp_path):
    folder_of(tmp_path / "data", {f"{label}/{n}.jpg": encoded(picture(n, 40, 40)) for label in "ab" for n in range(8)})
    root = tmp_path / "data"
    (root / "a/round.jpg").symlink_to("round.jpg")
    (root / "a/one.jpg").symlink_to("two.jpg")
    (root / "a/two.jpg").symlink_to("one.jpg")
    (root / "b/gone.jpg").symlink_to("/nowhere/x.jpg")
    (root / "b/again").symlink_to(root)
    manifest = read_folder(root).manifest
    assert manifest.counts.tolist() == [11, 9]  # The link to the folder that it lies in is none of b's images.
    with pytest.raises(UserError, match="cannot be read") as error:
        open_cache(manifest, S, tmp_path / "cache")
    assert "a/round.jpg: cannot be opened: Too many levels of symbolic links" in str(error.value)
    assert "b/gone.jpg: cannot be opened: No such file" in str(error.value)
    assert "a/one.jpg" in str(error.value)


def test_scan_survives_links_to_themselves(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x/loop").symlink_to("loop")
    (tmp_path / "x/loop.csv").symlink_to("loop.csv")
    tree = scan(tmp_path, "help")
    with pytest.raises(UserError, match="loop.csv cannot be read: Too many levels"):
        _files.read_text(tree.file("loop.csv") or tmp_path)


def test_a_folder_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    (tmp_path / "closed").mkdir()
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith("closed"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return scandir(path)

    monkeypatch.setattr(_walk.os, "scandir", refusing)
    with pytest.raises(UserError, match="closed cannot be read: Permission denied"):
        list(walk(tmp_path))


@dataclass(frozen=True)
class Build:
    """Opens a cache at the same time as another process, and prints how many images it decoded, and their sum."""

    both: Any
    """A barrier."""
    manifest: Manifest
    folder: Path
    budget: float

    def __call__(self) -> None:
        from ltmed.data.cache import build

        decode, decoded = build.decode_square, []

        def counting(*given: Any) -> Any:
            decoded.append(0)
            time.sleep(0.05)
            return decode(*given)

        build.decode_square = counting
        self.both.wait(60)
        pixels = open_cache(self.manifest, S, self.folder, budget_gb=self.budget, threads=2).pixels
        print(len(decoded), sum(int(pixels[row].sum()) for row in range(len(self.manifest))))


@pytest.mark.slow
@pytest.mark.parametrize("budget", BUDGETS)
def test_two_processes_that_build_one_cache_at_once_decode_once(tmp_path, budget):
    manifest, folder = jpegs(tmp_path / "data", number=20), tmp_path / "cache"
    builder = Build(multiprocessing.get_context("forkserver").Barrier(2), manifest, folder, budget)
    places = [tmp_path / "one", tmp_path / "two"]
    for place in places:
        place.mkdir()
    with ThreadPoolExecutor(2) as pool:
        answers = [ok(done).out.split() for done in pool.map(partial(run_process, builder), places)]
    assert sorted(int(count) for count, _ in answers) == [0, 20]
    assert answers[0][1] == answers[1][1]
    assert len([path for path in folder.iterdir() if path.is_dir()]) == 1


@pytest.mark.parametrize("budget", BUDGETS)
def test_a_read_only_cache_folder_serves_what_it_has(tmp_path, monkeypatch, budget):
    """As root, who may write everywhere but on a read-only disk; test_cache has it for everybody else."""
    manifest, folder = jpegs(tmp_path / "data"), tmp_path / "cache"
    open_cache(manifest, S, folder, budget_gb=budget)
    opening = Path.open

    def refusing(path, mode="r", *rest, **options):
        if set(mode) & set("wax+"):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return opening(path, mode, *rest, **options)

    monkeypatch.setattr(Path, "open", refusing)
    assert open_cache(manifest, S, folder, budget_gb=budget).pixels[5].any()
    with pytest.raises(UserError, match=r"cannot be written in .*: Read-only file system.*cache_dir="):
        open_cache(manifest, S + 1, folder, budget_gb=budget)
