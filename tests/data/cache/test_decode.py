"""Every kind of image file against Pillow."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import v2

from ltmed.data.cache.decode import BadImageError, decode, decode_square
from ltmed.data.cache.intensity import STORED
from tests.data.images import difference, encoded, picture, squashed, upright

S = 32


@pytest.mark.parametrize(("height", "width"), [(45, 60), (60, 45), (33, 500), (32, 32), (20, 12)])
def test_squash_equals_pillow(height, width):
    data = encoded(picture(0, height, width))
    assert difference(decode_square(data, S), squashed(data, S)) < 0.5


@pytest.mark.parametrize(("height", "width"), [(96, 120), (208, 192), (400, 520)])
def test_reduced_decoding_stays_close_to_pillow(height, width):
    data = encoded(picture(1, height, width))
    assert 0 < difference(decode_square(data, S), squashed(data, S)) < 1.0


@pytest.mark.parametrize(("height", "width"), [(45, 60), (61, 47), (32, 33)])
def test_crop_equals_torchvision(height, width):
    data = encoded(picture(2, height, width))
    expected = v2.CenterCrop(S)(v2.Resize(S)(Image.fromarray(upright(data))))
    assert difference(decode_square(data, S, "crop"), np.asarray(expected)) < 0.5


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("side", [40, 96])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_by_full_and_reduced_decoding(kind, side, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    data = encoded(picture(3, side, side * 5 // 4), kind, exif=exif)
    assert difference(decode_square(data, S), squashed(data, S)) < 1.0


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("L", "JPEG"), ("CMYK", "JPEG"), ("L", "PNG"), ("P", "PNG"), ("1", "PNG"), ("LA", "PNG"), ("RGB", "WEBP"),
     ("RGB", "TIFF"), ("RGB", "BMP")],
)  # fmt: skip
@pytest.mark.parametrize("side", [40, 96])
def test_colour_modes(mode, kind, side):
    data = encoded(Image.fromarray(picture(4, side, side)).convert(mode), kind)
    assert difference(decode_square(data, S), squashed(data, S)) < 1.5


def test_alpha_is_dropped_and_not_blended():
    pixels = picture(5, S, S)
    data = encoded(np.dstack([pixels, np.zeros((S, S), np.uint8)]), "PNG")
    np.testing.assert_array_equal(decode_square(data, S), pixels)


@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
def test_truncated_gifs_are_found_and_whole_ones_are_as_pillow_says(share, monkeypatch):
    data = encoded(Image.fromarray(picture(4, 60, 45)).convert("P"), "GIF")
    for _ in range(2):
        assert difference(decode_square(data, S), squashed(data, S)) < 0.5
        with pytest.raises(BadImageError, match="truncated"):
            decode_square(data[: int(len(data) * share)], S)
        # Older versions of OpenCV do not know GIF.
        monkeypatch.setattr(cv2, "imdecode", lambda *_: None)


def test_an_animation_gives_its_first_image():
    first, second = (Image.fromarray(picture(seed, S, S)).convert("P") for seed in (1, 2))
    data = encoded(first, "GIF", save_all=True, append_images=[second])
    assert difference(decode_square(data, S), np.asarray(first.convert("RGB"))) < 0.5


@pytest.mark.parametrize(("height", "width", "reduced"), [(60, 45, False), (500, 400, True)])
@pytest.mark.parametrize("orientation", [1, 6])
def test_sides_are_those_of_the_upright_image_in_the_file(height, width, reduced, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    actual = decode(encoded(picture(3, height, width), exif=exif), S)
    assert (actual.height, actual.width) == ((height, width) if orientation == 1 else (width, height))
    assert (actual.image.shape[:2] != (actual.height, actual.width)) == reduced
    assert (actual.bits, actual.extremes, actual.scaled_by) == (8, None, STORED)


def _png(height: int, width: int) -> bytes:
    """A PNG of one bit a pixel."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_too_many_pixels_for_opencv_are_reported():
    with pytest.raises(BadImageError, match="more pixels than OpenCV decodes.*OPENCV_IO_MAX_IMAGE_PIXELS"):
        decode_square(_png(40000, 30000), S)


def _thumbnailed(**options) -> bytes:
    """A JPEG whose EXIF header holds another JPEG, end marker included."""
    exif = b"Exif\0\0" + encoded(picture(7, 16, 16))
    return encoded(picture(6, 45, 60), exif=exif, **options)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("share", [0.02, 0.2, 0.5, 0.9, 0.999])
def test_truncated_jpegs_are_found(progressive, share):
    data = _thumbnailed(progressive=progressive)
    decode_square(data, S)
    with pytest.raises(BadImageError, match="truncated JPEG"):
        decode_square(data[: int(len(data) * share)], S)


def test_a_jpeg_with_a_tail_of_zeros_is_truncated_and_one_with_bytes_behind_its_end_is_not():
    data = encoded(picture(6, 45, 60))
    with pytest.raises(BadImageError, match="truncated JPEG"):
        decode_square(data[: len(data) // 2] + bytes(len(data) // 2), S)
    np.testing.assert_array_equal(decode_square(data + b"\0more", S), decode_square(data, S))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "WEBP"])
def test_other_truncated_files_are_found(kind):
    data = encoded(picture(8, 45, 60), kind)
    with pytest.raises(BadImageError):
        decode_square(data[: len(data) // 2], S)


@pytest.mark.parametrize("data", [b"", b"\xff", b"\xff\xd8", b"\xff\xd8\xff\xd9", b"lesion_id,image_id\n", bytes(500)])
def test_what_is_no_image_is_refused(data):
    with pytest.raises(BadImageError):
        decode_square(data, S)


def test_bicubic_is_that_of_pil() -> None:
    image = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(image).resize((40, 40), Image.Resampling.BICUBIC)).astype(int)
    made = decode_square(encoded(image, "PNG"), 40, interpolation="bicubic").astype(int)
    assert np.abs(made - expected).mean() < 1
    assert np.abs(made - decode_square(encoded(image, "PNG"), 40).astype(int)).mean() > 1
