from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from ltmed.data.cache import build, images
from ltmed.data.cache.images import open_cache
from ltmed.data.cache.intensity import BadImageError
from ltmed.errors import UserError
from tests.data.images import encoded, folder_of, jpegs, picture

S = 32


def _with_bad_images(root: Path):
    good, cut = encoded(picture(0, 45, 60)), encoded(picture(1, 45, 60))
    files = {"0.jpg": good, "1.jpg": cut[: len(cut) // 2], "2.jpg": b"", "3.jpg": b"hello", "4.jpg": good}
    return folder_of(root, files)


def test_all_bad_images_are_listed_at_once(tmp_path, monkeypatch):
    manifest = _with_bad_images(tmp_path / "data")
    with pytest.raises(UserError) as error:
        open_cache(manifest, S, tmp_path / "cache")
    message = str(error.value)
    assert "3 of 5 images of 'toy'" in message
    assert "dataset.on_bad_image=skip" in message
    assert "1.jpg: truncated JPEG" in message
    assert "2.jpg: empty file" in message
    assert "3.jpg: damaged, truncated or not an image" in message
    monkeypatch.setattr(images, "decode_all", None)  # Nothing is built again.
    with pytest.warns(UserWarning, match="3 of 5 images .* are left out"):
        skipped = open_cache(manifest, S, tmp_path / "cache", on_bad_image="skip")
    assert [row for row, _ in skipped.bad] == [1, 2, 3]
    assert not skipped.pixels[1:4].any()
    np.testing.assert_array_equal(skipped.pixels[0], skipped.pixels[4])


def test_only_the_first_twenty_bad_images_are_shown(tmp_path):
    manifest = folder_of(tmp_path / "data", {f"{i}.jpg": b"" for i in range(25)})
    with pytest.raises(UserError, match="25 of 25") as error:
        open_cache(manifest, S, tmp_path / "cache")
    assert str(error.value).count("empty file") == 20
    assert "5 more" in str(error.value)


def test_a_repaired_or_restored_image_is_read(tmp_path, monkeypatch):
    manifest, folder = jpegs(tmp_path / "data"), tmp_path / "cache"
    good = (manifest.root / manifest.images[2]).read_bytes()
    (manifest.root / manifest.images[2]).unlink()
    with pytest.raises(UserError, match="x/002.jpg: cannot be opened: No such file"):
        open_cache(manifest, S, folder)
    (manifest.root / manifest.images[2]).write_bytes(good)
    assert not open_cache(manifest, S, folder).bad

    def failing(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", failing)
        with pytest.raises(UserError, match="Permission denied"):
            open_cache(manifest, S, tmp_path / "other")
    assert not open_cache(manifest, S, tmp_path / "other").bad


def test_an_image_that_a_new_decoder_or_limit_can_read_is_read(tmp_path, monkeypatch):
    manifest = jpegs(tmp_path / "data")

    def refusing(data, *how):
        raise BadImageError("more pixels than OpenCV decodes")

    with monkeypatch.context() as patch:
        patch.setattr(build, "decode_square", refusing)
        with pytest.raises(UserError, match="more pixels than OpenCV decodes"):
            open_cache(manifest, S, tmp_path / "cache")
    assert not open_cache(manifest, S, tmp_path / "cache").bad
    monkeypatch.setattr(build, "decode_square", refusing)  # What was read once stays.
    assert open_cache(manifest, S, tmp_path / "cache").pixels[0].any()


def test_is_silent_without_a_progress_bar(tmp_path, capfd):
    manifest = folder_of(tmp_path / "data", {"0.png": encoded(picture(0, 45, 60), "PNG"), "1.tiff": b"II*\0\1"})
    with pytest.warns(UserWarning, match="1 of 2 images"):
        open_cache(manifest, S, tmp_path / "silent", on_bad_image="skip")
    assert capfd.readouterr() == ("", "")
    with pytest.warns(UserWarning, match="1 of 2 images"):
        open_cache(manifest, S, tmp_path / "bar", on_bad_image="skip", progress=True)
    assert "decoding toy" in capfd.readouterr().err
