"""The cache above its budget: JPEGs instead of raw pixels, with the same promises."""

from __future__ import annotations

import errno
import json
import os
import threading

import numpy as np
import pytest
import torch

from ltmed.data.augment import Compose, HorizontalFlip, RandomCrop
from ltmed.data.cache import build, store
from ltmed.data.cache import images as cache
from ltmed.data.cache.images import META, ImageCache, open_cache
from ltmed.data.cache.store import JPEGS, PIXELS, SPANS, JpegPixels
from ltmed.data.loading.loader import EvalLoader, TrainLoader
from ltmed.data.samplers.single import InstanceSampler
from ltmed.errors import UserError
from tests.data.cache.test_cache import _folders
from tests.data.images import difference, encoded, folder_of, jpegs, picture

S = 32


def jpeg_cache(manifest, folder, size: int = S, **options) -> ImageCache:
    return open_cache(manifest, size, folder, budget_gb=0, **options)


@pytest.mark.parametrize("threads", [1, 3])
def test_equals_the_raw_cache_within_the_error_of_jpeg(tmp_path, threads):
    manifest = jpegs(tmp_path / "data", number=37)
    raw = open_cache(manifest, S, tmp_path / "cache", threads=threads).pixels
    pixels = jpeg_cache(manifest, tmp_path / "cache", threads=threads).pixels
    assert isinstance(pixels, JpegPixels)
    assert pixels.shape == raw.shape == (37, S, S, 3)
    assert len(pixels) == len(raw) == 37
    for row in range(37):
        assert pixels[row].dtype == np.uint8
        assert difference(pixels[row], raw[row]) < 2
        assert np.abs(pixels[row].astype(int) - raw[row]).max() < 25


def test_colour_keeps_its_full_resolution(tmp_path):
    stripes = np.zeros((S, S, 3), np.uint8)
    stripes[:, ::2], stripes[:, 1::2] = (220, 40, 40), (40, 140, 220)
    pixels = jpeg_cache(folder_of(tmp_path / "data", {"0.png": encoded(stripes, "PNG")}), tmp_path / "cache").pixels
    assert difference(pixels[0], stripes) < 6  # With colour at half resolution: more than 30.


def test_the_budget_counts_raw_bytes_and_leads_to_another_folder(tmp_path):
    manifest, folder = jpegs(tmp_path / "data"), tmp_path / "cache"
    size = 6 * S * S * 3
    raw = open_cache(manifest, S, folder, budget_gb=size / 1e9).pixels
    small = open_cache(manifest, S, folder, budget_gb=(size - 1) / 1e9).pixels
    assert isinstance(raw, np.ndarray)
    assert isinstance(small, JpegPixels)
    files = [sorted(file.name for file in path.iterdir()) for path in _folders(folder)]
    assert sorted(files) == [sorted([JPEGS, META, SPANS]), sorted([META, PIXELS])]
    for budget in (-1, float("nan"), None, "20 GB"):
        with pytest.raises(UserError, match="dataset.cache_budget_gb=.* is no amount"):
            open_cache(manifest, S, folder, budget_gb=budget)


def test_what_is_read_cannot_be_changed(tmp_path):
    pixels = jpeg_cache(jpegs(tmp_path / "data", number=1), tmp_path / "cache").pixels
    with pytest.raises(ValueError, match="read-only"):
        pixels[0][:] = 0


def test_is_built_once_and_again_when_a_file_changes(tmp_path, monkeypatch):
    decoded, decode = [], build.decode_square
    monkeypatch.setattr(build, "decode_square", lambda *given: decoded.append(0) or decode(*given))
    manifest, folder = jpegs(tmp_path / "data"), tmp_path / "cache"
    for _ in range(2):
        jpeg_cache(manifest, folder)
        assert len(decoded) == 6
    os.utime(manifest.root / "x/003.jpg", ns=(0, 12345))
    jpeg_cache(manifest, folder)
    assert len(decoded) == 12


def test_concurrent_builders_decode_once(tmp_path, monkeypatch):
    decoded, decode = [], build.decode_square
    monkeypatch.setattr(build, "decode_square", lambda *given: decoded.append(0) or decode(*given))
    manifest, results = jpegs(tmp_path / "data", number=20), []
    builders = [
        threading.Thread(target=lambda: results.append(jpeg_cache(manifest, tmp_path / "cache"))) for _ in range(4)
    ]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join()
    assert len(decoded) == 20
    assert len(_folders(tmp_path / "cache")) == 1
    for row in range(20):
        assert all(np.array_equal(result.pixels[row], results[0].pixels[row]) for result in results)


@pytest.mark.parametrize("name", [JPEGS, SPANS, META])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_cache_is_built_again(tmp_path, name, damage):
    manifest, folder = jpegs(tmp_path / "data"), tmp_path / "cache"
    expected = [jpeg_cache(manifest, folder).pixels[row] for row in range(6)]
    (path,) = _folders(folder)
    if damage == "cut":
        os.truncate(path / name, (path / name).stat().st_size - 8)
    else:
        (path / name).unlink()
    with pytest.warns(UserWarning, match=r"toy-\w+ is damaged"):
        again = jpeg_cache(manifest, folder).pixels
    assert all(np.array_equal(again[row], expected[row]) for row in range(6))


def test_damage_of_the_same_size_is_reported_on_access(tmp_path):
    manifest, folder = jpegs(tmp_path / "data"), tmp_path / "cache"
    jpeg_cache(manifest, folder)
    (path,) = _folders(folder)
    (path / JPEGS).write_bytes(bytes((path / JPEGS).stat().st_size))
    pixels = jpeg_cache(manifest, folder).pixels
    with pytest.raises(UserError, match=r"Image 2 in .*images.jpegs is damaged.*Delete .*toy-"):
        pixels[2]


def test_bad_images_are_listed_and_are_zeros(tmp_path):
    good = encoded(picture(0, 45, 60))
    manifest = folder_of(
        tmp_path / "data", {"0.jpg": good, "1.jpg": good[: len(good) // 2], "2.jpg": b"", "3.jpg": good}
    )
    with pytest.raises(UserError, match=r"2 of 4 images") as error:
        jpeg_cache(manifest, tmp_path / "cache")
    assert "1.jpg: truncated JPEG" in str(error.value)
    with pytest.warns(UserWarning, match="2 of 4 images .* are left out"):
        skipped = jpeg_cache(manifest, tmp_path / "cache", on_bad_image="skip")
    assert [row for row, _ in skipped.bad] == [1, 2]
    assert not skipped.pixels[1].any()
    assert not skipped.pixels[2].any()
    np.testing.assert_array_equal(skipped.pixels[0], skipped.pixels[3])


def test_a_cache_of_bad_images_alone_can_be_opened(tmp_path):
    manifest = folder_of(tmp_path / "data", {"0.jpg": b"", "1.jpg": b"x"})
    for _ in range(2):
        with pytest.warns(UserWarning, match="2 of 2 images"):
            assert not jpeg_cache(manifest, tmp_path / "cache", on_bad_image="skip").pixels[1].any()


def test_a_full_disk_is_reported_before_decoding(tmp_path, monkeypatch):
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: cache.shutil._ntuple_diskusage(9, 9, 1 << 20))
    monkeypatch.setattr(build, "decode_square", None)
    with pytest.raises(UserError, match=r"needs 1\.0 MiB in .*cache, where 1\.0 MiB are free.*cache_dir="):
        jpeg_cache(jpegs(tmp_path / "data"), tmp_path / "cache")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_becomes_full_leaves_nothing(tmp_path, monkeypatch, number):
    room, write = [4000], os.pwrite

    def pwrite(file, data, offset):
        if not room[0]:
            raise OSError(number, os.strerror(number))
        written = min(room[0], len(data))
        room[0] -= written
        return write(file, data[:written], offset)

    monkeypatch.setattr(build.os, "pwrite", pwrite)
    manifest = jpegs(tmp_path / "data", number=40)
    with pytest.raises(UserError, match=r"became full .*removed.*cache_dir="):
        jpeg_cache(manifest, tmp_path / "cache")
    assert not _folders(tmp_path / "cache")
    room[0] = 1 << 30
    assert len(jpeg_cache(manifest, tmp_path / "cache").pixels) == 40


def test_a_write_in_pieces_is_completed(tmp_path, monkeypatch):
    manifest, write = jpegs(tmp_path / "data"), os.pwrite
    expected = jpeg_cache(manifest, tmp_path / "whole").pixels
    monkeypatch.setattr(build.os, "pwrite", lambda file, data, offset: write(file, data[:70], offset))
    pieces = jpeg_cache(manifest, tmp_path / "pieces").pixels
    assert all(np.array_equal(pieces[row], expected[row]) for row in range(6))


def test_meta_describes_the_cache(tmp_path):
    jpeg_cache(jpegs(tmp_path / "data"), tmp_path / "cache")
    (path,) = _folders(tmp_path / "cache")
    meta = json.loads((path / META).read_text())
    assert meta["shape"] == [6, S, S, 3]
    assert meta["bad"] == []


def test_batches_are_bit_identical_for_any_number_of_threads_and_follow_the_store(tmp_path):
    manifest = jpegs(tmp_path / "data", number=40)
    opened = jpeg_cache(manifest, tmp_path / "cache")
    sampler = InstanceSampler(labels=manifest.labels, batch_size=10, epochs=1, seed=1)
    augment = Compose(crop=RandomCrop(24), flip=HorizontalFlip())
    raw = ImageCache(np.stack([opened.pixels[row] for row in range(40)]))

    def batches(source: ImageCache, threads: int) -> torch.Tensor:
        loader = TrainLoader(source, np.arange(40), manifest.labels, sampler, augment, views=2, seed=3, threads=threads)
        return torch.cat([torch.stack([batch.images, batch.views], 1) for batch in loader])  # pyright: ignore

    expected = batches(raw, 1)
    assert expected.shape == (40, 2, 24, 24, 3)
    for threads in (1, 2, 5):
        assert torch.equal(batches(opened, threads), expected)
    evaluated = EvalLoader(opened, np.arange(40), manifest.labels, RandomCrop(S), batch_size=7, threads=3)
    np.testing.assert_array_equal(torch.cat([batch.images for batch in evaluated]), raw.pixels)  # pyright: ignore


def test_a_killed_builders_folder_is_not_used(tmp_path):
    """What lies in the temporary folder is no cache, whatever it holds."""
    manifest, folder = jpegs(tmp_path / "data"), tmp_path / "cache"
    jpeg_cache(manifest, folder)
    (path,) = _folders(folder)
    path.rename(cache._temporary(path))
    (cache._temporary(path) / SPANS).unlink()
    assert len(jpeg_cache(manifest, folder).pixels) == 6
    assert [entry.name for entry in _folders(folder)] == [path.name]
    assert store.JPEG.open(path, (6, S, S, 3)) is not None
