"""More than eight bits in PNG and TIFF, against the formula and for every setting."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ltmed.data.cache.decode import decode, decode_square
from ltmed.data.cache.images import open_cache
from ltmed.data.cache.intensity import FIXED, RANGE, STORED, BadImageError, Intensity
from ltmed.errors import UserError
from tests.data.images import encoded, folder_of, picture

S = 64


def scaled(pixels: np.ndarray, low: float, high: float) -> np.ndarray:
    """Black at `low`, white at `high`, in floating point."""
    return np.rint(np.clip((pixels.astype(np.float64) - low) / (high - low), 0, 1) * 255)


def twelve_bits(channels: int = 1) -> np.ndarray:
    """Detector values from 137 to 3,900, uint16 [S, S] or [S, S, 3]."""
    ramp = np.linspace(137, 3900, S * S).reshape(S, S)
    return np.dstack([ramp, ramp[::-1], ramp.T]).astype(np.uint16)[..., :channels].squeeze()


def stored(pixels: np.ndarray, suffix: str = ".png") -> bytes:
    done, data = cv2.imencode(suffix, pixels[..., ::-1] if pixels.ndim == 3 else pixels)
    assert done
    return data.tobytes()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("mode", ["auto", "range"])
def test_twelve_of_sixteen_bits_keep_their_grey_levels(channels, suffix, mode):
    pixels = twelve_bits(channels)
    square = decode_square(stored(pixels, suffix), S, "squash", intensity=Intensity(mode))
    expected = scaled(pixels, pixels.min(), pixels.max())
    np.testing.assert_allclose(square, np.broadcast_to(expected.reshape(S, S, channels), (S, S, 3)), atol=1)
    assert len(np.unique(square[..., 0])) == 256


def test_a_fixed_range_gives_one_value_one_grey_level_in_every_image():
    fixed = Intensity.of([100, 4095])
    pixels = twelve_bits()
    for image in (pixels, pixels[: S // 2], pixels // 3):
        square = decode(stored(image), 1, fixed).image[..., 0]
        np.testing.assert_allclose(square, scaled(image, 100, 4095), atol=1)
    assert decode(stored(pixels), S, fixed).scaled_by == FIXED


def test_full_range_sixteen_bits_are_about_their_high_bytes():
    pixels = np.arange(1 << 16, dtype=np.uint16).reshape(256, 256)
    np.testing.assert_allclose(decode_square(stored(pixels), 256)[..., 0], pixels >> 8, atol=1)


@pytest.mark.parametrize("intensity", [Intensity(), Intensity("window"), Intensity("range"), Intensity.of([0, 4095])])
def test_eight_bits_are_as_stored_under_every_setting(intensity):
    pixels = picture(0, S, S) // 2 + 30
    actual = decode(encoded(pixels, "PNG"), S, intensity)
    np.testing.assert_array_equal(actual.image[..., ::-1], pixels)
    assert (actual.scaled_by, actual.extremes, actual.bits) == (STORED, None, 8)


def test_stored_properties_are_reported():
    actual = decode(stored(twelve_bits()), S)
    assert (actual.bits, actual.extremes, actual.scaled_by) == (16, (137.0, 3900.0), RANGE)
    assert (actual.height, actual.width) == (S, S)
    flat = decode(stored(np.full((S, S), 900, np.uint16)), S)
    assert not flat.image.any()


def test_without_a_window_there_is_none():
    with pytest.raises(BadImageError, match="no window in the file"):
        decode_square(stored(twelve_bits()), S, "squash", intensity=Intensity("window"))


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_the_meaning_of_32_bits_must_be_given(kind):
    pixels = (twelve_bits().astype(kind) - 1024) * 2
    data = stored(pixels, ".tiff")
    with pytest.raises(BadImageError, match=rf"pixels of 32 bits \({np.dtype(kind)}\).*dataset.intensity="):
        decode_square(data, S)
    for intensity, low, high in (
        (Intensity("range"), pixels.min(), pixels.max()),
        (Intensity.of([-500, 900]), -500, 900),
    ):
        np.testing.assert_allclose(
            decode_square(data, S, "squash", intensity=intensity)[..., 0], scaled(pixels, low, high), atol=1
        )


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_bad_images(value):
    pixels = twelve_bits().astype(np.float32)
    pixels[3, 5] = value
    for intensity in (Intensity("range"), Intensity.of([0, 1])):
        with pytest.raises(BadImageError, match="not finite"):
            decode_square(stored(pixels, ".tiff"), S, "squash", intensity=intensity)


@pytest.mark.parametrize("option", ["auto", "window", "range", [-1000, 400], [0.5, 1.5]])
def test_the_setting_is_read_and_written(option):
    assert Intensity.of(option).option == option
    assert Intensity.of(Intensity.of(option).option) == Intensity.of(option)


@pytest.mark.parametrize(
    "option", ["rnage", "", [1], [1, 2, 3], [2, 1], [1, 1], ["a", 2], [True, 2], [0, float("nan")], None, 3]
)
def test_other_settings_are_refused_by_name(option):
    with pytest.raises(UserError, match="dataset.intensity="):
        Intensity.of(option)


def test_every_setting_has_a_cache_of_its_own(tmp_path):
    manifest = folder_of(tmp_path / "data", {"a.png": stored(twelve_bits()), "b.png": stored(twelve_bits() // 4)})
    options = ("auto", [0, 4095], [0, 1000])
    caches = [open_cache(manifest, S, tmp_path / "cache", intensity=Intensity.of(option)) for option in options]
    observed = [cache.pixels[1].max() for cache in caches]
    assert observed[0] == 255
    assert observed[1] == round(975 * 255 / 4095)
    assert observed[2] == round(975 * 255 / 1000)
    assert len(list((tmp_path / "cache").glob("toy-*"))) == 3
