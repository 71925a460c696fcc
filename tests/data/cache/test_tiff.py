"""TIFF files whose stored values OpenCV changes, written here byte by byte."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from ltmed.data.cache.decode import decode
from ltmed.data.cache.images import open_cache
from ltmed.data.cache.intensity import BadImageError, Intensity
from tests.data.images import folder_of

RED = (np.arange(24).reshape(4, 6) * 11).astype(np.uint8)
COLOURS = np.dstack([RED, 255 - RED, RED // 2])


def tiff(pixels: np.ndarray, *, photometric: int, extra: int | None = None, planes: int = 1, order="<", big=False):
    """An uncompressed TIFF of pixels [h, w] or [h, w, samples] (separate planes: [samples, h, w])."""
    h, w = pixels.shape[1:] if planes == 2 else pixels.shape[:2]
    samples = pixels.size // (h * w)
    content = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    strips, (number, pointer) = samples if planes == 2 else 1, "QQ" if big else "HI"
    head = 16 if big else 8
    bits = struct.pack(f"{order}{samples}H", *[8 * pixels.itemsize] * samples)
    places = struct.pack(f"{order}{strips}I", *(head + n * len(content) // strips for n in range(strips)))
    sizes = struct.pack(f"{order}{strips}I", *[len(content) // strips] * strips)
    values = {
        256: (4, 1, w), 257: (4, 1, h), 258: (3, samples, bits), 259: (3, 1, 1), 262: (3, 1, photometric),
        273: (4, strips, places), 277: (3, 1, samples), 278: (4, 1, h), 279: (4, strips, sizes), 284: (3, 1, planes),
        **({338: (3, 1, extra)} if extra is not None else {}),
    }  # fmt: skip
    tail, entries = content, b""
    for tag, (kind, count, value) in sorted(values.items()):
        data = struct.pack(order + " HHHI"[kind], value) if isinstance(value, int) else value
        if len(data) > (8 if big else 4):
            tail, data = tail + data, struct.pack(order + pointer, head + len(tail))
        entries += struct.pack(f"{order}HH{pointer}", tag, kind, count) + data.ljust(8 if big else 4, b"\0")
    start = struct.pack(order + ("HHHQ" if big else "HI"), *((43, 8, 0) if big else (42,)), head + len(tail))
    directory = struct.pack(order + number, len(values)) + entries + bytes(8 if big else 4)
    return {"<": b"II", ">": b"MM"}[order] + start + tail + directory


def rgb(data: bytes, option="auto") -> np.ndarray:
    return decode(data, 4, Intensity.of(option)).image[..., ::-1]


@pytest.mark.parametrize("alpha", [0, 128, 255])
@pytest.mark.parametrize("extra", [0, 1, 2])
def test_alpha_is_dropped_and_not_blended(alpha, extra):
    opacity = np.full_like(RED, alpha)
    np.testing.assert_array_equal(rgb(tiff(np.dstack([COLOURS, opacity]), photometric=2, extra=extra)), COLOURS)
    grey = rgb(tiff(np.dstack([RED, opacity]), photometric=1, extra=extra))
    np.testing.assert_array_equal(grey, np.dstack([RED] * 3))


@pytest.mark.parametrize(("order", "big"), [("<", False), (">", False), ("<", True)])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_zero_can_be_white(kind, order, big):
    stored = RED.astype(kind) * (257 if kind == np.uint16 else 1)
    plain, white = (tiff(stored, photometric=photometric, order=order, big=big) for photometric in (1, 0))
    fixed = [0, 65535] if kind == np.uint16 else "auto"
    np.testing.assert_array_equal(rgb(plain, fixed), np.dstack([RED] * 3))
    np.testing.assert_array_equal(rgb(white, fixed), 255 - np.dstack([RED] * 3))


def test_colours_in_separate_planes_are_read_or_refused():
    separate = np.moveaxis(COLOURS, -1, 0)
    np.testing.assert_array_equal(rgb(tiff(separate, photometric=2, planes=2)), COLOURS)
    with pytest.raises(BadImageError, match="separate planes of more than 8 bits"):
        decode(tiff(separate.astype(np.uint16) * 257, photometric=2, planes=2), 4)


def test_a_truncated_file_is_bad():
    data = tiff(np.dstack([COLOURS, RED]), photometric=2, extra=2)
    for length in (4, 7, 12, len(data) // 2, len(data) - 30):
        with pytest.raises(BadImageError):
            decode(data[:length], 4)


def test_caches_of_the_former_decoding_are_not_used(tmp_path, monkeypatch):
    manifest = folder_of(tmp_path / "data", {"a.TIFF": tiff(COLOURS, photometric=2)})
    name = open_cache(manifest, 4, tmp_path / "cache").name
    assert open_cache(manifest, 4, tmp_path / "cache").name == name
    monkeypatch.setattr("ltmed.data.cache.images.TIFF_FORMAT", 1)
    assert open_cache(manifest, 4, tmp_path / "cache").name != name
