"""DICOM files byte by byte: eight bits, colours, damaged files, and without pydicom."""

from __future__ import annotations

import struct
import sys

import numpy as np
import pytest

from ltmed.data.cache.decode import BadImageError, decode_square
from ltmed.data.cache.images import open_cache
from ltmed.errors import UserError
from tests.data.images import encoded, folder_of, picture

S = 32


def element(group: int, number: int, kind: bytes, value: bytes) -> bytes:
    """One data element, explicit little endian."""
    value += b"\0" * (len(value) % 2) if kind in (b"UI", b"OB", b"OW") else b" " * (len(value) % 2)
    length = struct.pack("<HI", 0, len(value)) if kind in (b"OB", b"OW") else struct.pack("<H", len(value))
    return struct.pack("<HH", group, number) + kind + length + value


def dicom(pixels: np.ndarray, photometric: str = "MONOCHROME2", window: tuple[int, int] | None = None) -> bytes:
    """A DICOM file of uint8 or uint16 [h, w] or uint8 [h, w, 3]."""
    short = lambda number, value: element(0x28, number, b"US", struct.pack("<H", value))  # noqa: E731
    bits, colours = 8 * pixels.itemsize, 3 if pixels.ndim == 3 else 1
    meta = element(2, 0x10, b"UI", b"1.2.840.10008.1.2.1")
    body = short(2, colours) + element(0x28, 4, b"CS", photometric.encode())
    body += short(6, 0) if colours == 3 else b""
    body += short(0x10, pixels.shape[0]) + short(0x11, pixels.shape[1])
    body += short(0x100, bits) + short(0x101, bits) + short(0x102, bits - 1) + short(0x103, 0)
    if window:
        body += element(0x28, 0x1050, b"DS", b"%d" % window[0]) + element(0x28, 0x1051, b"DS", b"%d" % window[1])
    body += element(0x7FE0, 0x10, b"OW" if bits == 16 else b"OB", pixels.tobytes())
    return b"\0" * 128 + b"DICM" + element(2, 0, b"UL", struct.pack("<I", len(meta))) + meta + body


def grey(seed: int = 0) -> np.ndarray:
    return picture(seed, S, S)[..., 0]


def test_eight_bits_are_kept():
    pytest.importorskip("pydicom")
    pixels = grey() // 2 + 20
    np.testing.assert_array_equal(decode_square(dicom(pixels), S), np.dstack([pixels] * 3))
    np.testing.assert_array_equal(decode_square(dicom(pixels, "MONOCHROME1"), S), np.dstack([255 - pixels] * 3))
    large = picture(1, 90, 70)[..., 0]
    png = encoded(large, "PNG")
    np.testing.assert_array_equal(decode_square(dicom(large), S, "crop"), decode_square(png, S, "crop"))


def test_colours():
    pytest.importorskip("pydicom")
    pixels = picture(2, S, S)
    np.testing.assert_array_equal(decode_square(dicom(pixels, "RGB"), S), pixels)


def test_more_bits_become_the_range_of_the_image_or_window():
    pytest.importorskip("pydicom")
    pixels = grey().astype(np.uint16) * 13 + 400
    stretched = np.rint((pixels - pixels.min()) * (255 / np.ptp(pixels))).astype(np.uint8)
    np.testing.assert_array_equal(decode_square(dicom(pixels), S)[..., 0], stretched)
    low, high = 1000, 2000
    actual = decode_square(dicom(pixels, window=((low + high) // 2, high - low)), S)[..., 0]
    expected = np.clip((pixels.astype(float) - low) / (high - low), 0, 1) * 255
    np.testing.assert_allclose(actual, expected, atol=1.0)
    flat = decode_square(dicom(np.full((S, S), 700, np.uint16)), S)
    assert not flat.any()


def test_damaged_files_are_bad_images():
    pytest.importorskip("pydicom")
    data = dicom(grey())
    for bad in (data[: len(data) - 300], data[:200], data[:132]):
        with pytest.raises(BadImageError, match="pydicom cannot decode it"):
            decode_square(bad, S)
    volume = dicom(np.zeros((4 * S, S), np.uint8))
    at = volume.index(struct.pack("<HH", 0x28, 0x10))
    quarter = volume[at:].replace(struct.pack("<H", 4 * S), struct.pack("<H", S), 1)
    with pytest.raises(BadImageError, match="4 x 32 x 32 values is not one image"):
        decode_square(volume[:at] + element(0x28, 8, b"IS", b"4") + quarter, S)


def test_a_missing_pydicom_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(UserError, match=r"need the package pydicom. Install it: pip install 'ltmed\[dicom\]'"):
        decode_square(dicom(grey()), S)
    manifest = folder_of(tmp_path / "x", {"a.png": encoded(picture(0, S, S), "PNG"), "b.dcm": dicom(grey())})
    with pytest.raises(UserError, match="need the package pydicom"):
        open_cache(manifest, S, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("toy-*"))
