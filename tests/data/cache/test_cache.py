from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from ltmed.data.cache import build
from ltmed.data.cache import images as cache
from ltmed.data.cache.images import META, open_cache
from ltmed.data.cache.store import PIXELS
from ltmed.errors import UserError
from tests.data.images import difference, encoded, jpegs, picture, squashed

S = 32
ROOT = Path(__file__).resolve().parents[3]


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir())


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of all files that are decoded."""
    sizes = []

    def counting(data, *how):
        sizes.append(len(data))
        return decode(data, *how)

    decode = build.decode_square
    monkeypatch.setattr(build, "decode_square", counting)
    return sizes


@pytest.mark.parametrize("threads", [1, 3])
def test_holds_all_images_in_order(tmp_path, threads):
    manifest = jpegs(tmp_path / "data", number=37)
    pixels = open_cache(manifest, S, tmp_path / "cache", threads=threads).pixels
    assert pixels.shape == (37, S, S, 3)
    assert pixels.dtype == np.uint8
    for row, name in enumerate(manifest.images):
        assert difference(pixels[row], squashed((manifest.root / name).read_bytes(), S)) < 0.5
    with pytest.raises(ValueError, match="read-only"):
        pixels[0] = 0


def test_is_built_once_and_reused(tmp_path, decoded):
    manifest = jpegs(tmp_path / "data")
    first = open_cache(manifest, S, tmp_path / "cache")
    assert len(decoded) == 6
    second = open_cache(manifest, S, tmp_path / "cache")
    assert len(decoded) == 6
    np.testing.assert_array_equal(first.pixels, second.pixels)


def _touched(root: Path) -> None:
    os.utime(root / "x/003.jpg", ns=(0, 12345))


def _replaced(root: Path) -> None:
    status = (root / "x/003.jpg").stat()
    (root / "x/003.jpg").write_bytes(encoded(picture(99, 45, 60)))
    os.utime(root / "x/003.jpg", ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("change", [_touched, _replaced])
def test_a_changed_file_leads_to_another_cache(tmp_path, decoded, change):
    manifest = jpegs(tmp_path / "data")
    open_cache(manifest, S, tmp_path / "cache")
    change(manifest.root)
    pixels = open_cache(manifest, S, tmp_path / "cache").pixels
    assert len(decoded) == 12
    assert difference(pixels[3], squashed((manifest.root / "x/003.jpg").read_bytes(), S)) < 0.5


def test_names_size_and_fit_lead_to_other_caches_and_the_place_of_the_data_does_not(tmp_path, decoded):
    manifest = jpegs(tmp_path / "data")
    open_cache(manifest, S, tmp_path / "cache")
    (manifest.root / "x/003.jpg").rename(manifest.root / "x/007.jpg")
    renamed = jpegs(tmp_path / "other", number=0)
    renamed = type(manifest)(**{**vars(manifest), "images": (*manifest.images[:3], "x/007.jpg", *manifest.images[4:])})
    open_cache(renamed, S, tmp_path / "cache")
    open_cache(renamed, S + 1, tmp_path / "cache")
    open_cache(renamed, S, tmp_path / "cache", fit="crop")
    assert len(decoded) == 24
    moved = manifest.root.rename(tmp_path / "moved")
    open_cache(type(manifest)(**{**vars(renamed), "root": moved}), S, tmp_path / "cache")
    assert len(decoded) == 24


def test_concurrent_builders_decode_once(tmp_path, decoded):
    manifest = jpegs(tmp_path / "data", number=20)
    results = []
    builders = [
        threading.Thread(target=lambda: results.append(open_cache(manifest, S, tmp_path / "cache"))) for _ in range(4)
    ]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join()
    assert len(decoded) == 20
    assert len(results) == 4
    assert len(_folders(tmp_path / "cache")) == 1


SLOW = """
import sys, time
from pathlib import Path
import numpy as np
from ltmed.data.cache import build
from ltmed.data.cache.images import open_cache
from ltmed.data.manifest import Manifest
decode = build.decode_square
def slow(*arguments):
    time.sleep(0.2)
    return decode(*arguments)
build.decode_square = slow
root, folder, *images = sys.argv[1:]
manifest = Manifest("toy", Path(root), tuple(images), np.zeros(len(images), int), ("a",), ("A",))
open_cache(manifest, 32, folder, threads=1)
"""


@pytest.mark.slow
def test_a_waiting_process_takes_over_from_a_killed_one(tmp_path):
    manifest = jpegs(tmp_path / "data", number=50)
    expected = np.array(open_cache(manifest, S, tmp_path / "undisturbed").pixels)
    folder = tmp_path / "cache"
    command = [sys.executable, "-c", SLOW, str(manifest.root), str(folder), *manifest.images]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}) as process:
        deadline = time.monotonic() + 60
        while not (parts := list(folder.glob(".*.part"))) or not (parts[0] / PIXELS).exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        results = []
        waiting = threading.Thread(target=lambda: results.append(open_cache(manifest, S, folder)))
        waiting.start()
        waiting.join(0.5)
        assert waiting.is_alive()
        process.send_signal(signal.SIGKILL)
        waiting.join(30)
    np.testing.assert_array_equal(results[0].pixels, expected)
    assert len(_folders(folder)) == 1


def test_leftovers_of_killed_builds_are_removed_and_running_ones_kept(tmp_path):
    folder = tmp_path / "cache"
    dead, alive = folder / ".toy-dead.part", folder / ".toy-alive.part"
    for part in (dead, alive):
        part.mkdir(parents=True)
    with cache._locked(folder / "toy-alive"):
        open_cache(jpegs(tmp_path / "data"), S, folder)
    assert not dead.exists()
    assert alive.exists()


@pytest.mark.parametrize("damage", ["pixels", "meta"])
def test_a_damaged_cache_is_built_again(tmp_path, damage):
    manifest, folder = jpegs(tmp_path / "data"), tmp_path / "cache"
    expected = np.array(open_cache(manifest, S, folder).pixels)
    (path,) = _folders(folder)
    if damage == "pixels":
        os.truncate(path / PIXELS, 1000)
    else:
        (path / META).write_text('{"shape": [')
    with pytest.warns(UserWarning, match=r"toy-\w+ is damaged"):
        again = open_cache(manifest, S, folder)
    np.testing.assert_array_equal(again.pixels, expected)


def test_a_full_disk_is_reported_before_decoding(tmp_path, monkeypatch, decoded):
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: cache.shutil._ntuple_diskusage(9, 9, 1 << 20))
    with pytest.raises(UserError, match=r"needs 1\.0 MiB in .*cache, where 1\.0 MiB are free.*cache_dir="):
        open_cache(jpegs(tmp_path / "data"), S, tmp_path / "cache")
    assert not decoded
    assert not _folders(tmp_path / "cache")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_becomes_full_leaves_nothing(tmp_path, monkeypatch, number):
    room = [5 * S * S * 3 + 100]
    write = os.pwrite

    def pwrite(file, data, offset):
        if not room[0]:
            raise OSError(number, os.strerror(number))
        written = min(room[0], len(data))
        room[0] -= written
        return write(file, data[:written], offset)

    monkeypatch.setattr(build.os, "pwrite", pwrite)
    manifest = jpegs(tmp_path / "data", number=40)
    with pytest.raises(UserError, match=r"became full .*removed.*cache_dir="):
        open_cache(manifest, S, tmp_path / "cache")
    assert not _folders(tmp_path / "cache")
    room[0] = 1 << 30
    assert len(open_cache(manifest, S, tmp_path / "cache").pixels) == 40


def test_a_failed_build_stops_at_once(tmp_path, monkeypatch, decoded):
    def refusing(*_):
        time.sleep(0.02)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def slow(*arguments):
        time.sleep(0.02)
        return decode(*arguments)

    decode = build.decode_square
    monkeypatch.setattr(build, "decode_square", slow)
    monkeypatch.setattr(build.os, "pwrite", lambda file, data, offset: refusing() if offset == 0 else len(data))
    with pytest.raises(UserError, match="became full"):
        open_cache(jpegs(tmp_path / "data", number=48), S, tmp_path / "cache", threads=3)
    assert len(decoded) < 20


def test_a_write_in_pieces_is_completed(tmp_path, monkeypatch):
    manifest = jpegs(tmp_path / "data")
    expected = np.array(open_cache(manifest, S, tmp_path / "whole").pixels)
    write = os.pwrite
    monkeypatch.setattr(build.os, "pwrite", lambda file, data, offset: write(file, data[:700], offset))
    np.testing.assert_array_equal(open_cache(manifest, S, tmp_path / "pieces").pixels, expected)


def test_a_folder_that_cannot_be_written_names_the_key(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UserError, match=r"cannot be written in .*file/cache: .*cache_dir="):
        open_cache(jpegs(tmp_path / "data"), S, tmp_path / "file/cache")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_serves_what_it_has_and_takes_nothing_new(tmp_path):
    manifest, folder = jpegs(tmp_path / "data"), tmp_path / "cache"
    open_cache(manifest, S, folder)
    folder.chmod(0o500)
    try:
        open_cache(manifest, S, folder)
        with pytest.raises(UserError, match=r"Permission denied.*cache_dir="):
            open_cache(manifest, S + 1, folder)
    finally:
        folder.chmod(0o700)


def test_unknown_options_are_refused(tmp_path):
    manifest = jpegs(tmp_path / "data", number=1)
    with pytest.raises(UserError, match="fit=squish is not known.*squash"):
        open_cache(manifest, S, tmp_path, fit="squish")
    with pytest.raises(UserError, match="on_bad_image=ignore"):
        open_cache(manifest, S, tmp_path, on_bad_image="ignore")


def test_meta_describes_the_cache(tmp_path):
    open_cache(jpegs(tmp_path / "data"), S, tmp_path / "cache", fit="crop")
    (path,) = _folders(tmp_path / "cache")
    meta = json.loads((path / META).read_text())
    assert meta == {
        "format": 2,
        "root": str(tmp_path / "data"),
        "shape": [6, S, S, 3],
        "fit": "crop",
        "interpolation": "bilinear",
        "intensity": "auto",
        "bad": [],
    }
