"""Every kind of image file against Pillow."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import v2

from ltmed.data.decode import BadImageError, decode_square
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


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_pixels_of_32_bits_are_called_so(kind):
    done, data = cv2.imencode(".tiff", picture(4, S, S)[..., 0].astype(kind))
    assert done
    with pytest.raises(BadImageError, match=rf"pixels of 32 bits \({np.dtype(kind)}\) are not supported"):
        decode_square(data.tobytes(), S)


def test_alpha_is_dropped_and_not_blended():
    pixels = picture(5, S, S)
    data = encoded(np.dstack([pixels, np.zeros((S, S), np.uint8)]), "PNG")
    np.testing.assert_array_equal(decode_square(data, S), pixels)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_of_16_bits_the_high_8_are_kept(channels, suffix):
    pixels = np.random.default_rng(0).integers(0, 1 << 16, (S, S, channels)).astype(np.uint16)
    data = cv2.imencode(suffix, pixels[..., ::-1])[1].tobytes()
    rounding = 1 if suffix == ".tiff" else 0
    np.testing.assert_allclose(decode_square(data, S), np.broadcast_to(pixels >> 8, (S, S, 3)), atol=rounding)


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
