"""TIFF files whose stored values OpenCV does not return: transparency, white as zero, separate colour planes."""

from __future__ import annotations

import io
import struct

import numpy as np

from ltmed.data.cache.intensity import BadImageError

_HEADERS = {b"II*\0": "<", b"MM\0*": ">", b"II+\0": "<", b"MM\0+": ">"}
_BITS, _PHOTOMETRIC, _SAMPLES, _PLANES, _EXTRA = 258, 262, 277, 284, 338
_WHITE_IS_ZERO, _SEPARATE, _UNASSOCIATED = 0, 2, 2
_SHORT, _LONG = 3, 4


def is_tiff(data: bytes) -> bool:
    """Whether the content of a file is TIFF or BigTIFF."""
    return data[:4] in _HEADERS


def is_inverted(data: bytes) -> bool:
    """Whether the first image of a TIFF is grey of more than eight bits with white as 0: OpenCV inverts 8 bits only.

    Raises:
        BadImageError: colours of more than eight bits in separate planes, which OpenCV takes for one plane.
    """
    tags = _first_tags(data)
    deep = tags.get(_BITS, 1) > 8
    if deep and tags.get(_SAMPLES, 1) > 1 and tags.get(_PLANES, 1) == _SEPARATE:
        raise BadImageError("TIFF with separate planes of more than 8 bits; store the colours of a pixel together")
    return deep and tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO


def without_alpha(data: bytes) -> np.ndarray | None:
    """The stored colours of a TIFF that OpenCV would multiply by its alpha; uint8 [h, w, 3], BGR; None for others."""
    tags = _first_tags(data)
    if tags.get(_EXTRA) != _UNASSOCIATED or tags.get(_BITS) != 8:
        return None
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(data), formats=("TIFF",)) as file:
            return np.asarray(ImageOps.exif_transpose(file).convert("RGB"))[..., ::-1].copy()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise BadImageError(f"damaged TIFF ({' '.join(str(error).split())})") from None


def _first_tags(data: bytes) -> dict[int, int]:
    """The first value of every numeric tag of the first image; empty for a damaged file."""
    order, big = _HEADERS[data[:4]], data[2:4] in (b"+\0", b"\0+")
    number, pointer = ("Q", "Q") if big else ("H", "I")
    entry = struct.Struct(f"{order}HH{pointer}")
    tags = {}
    try:
        (start,) = struct.unpack_from(order + pointer, data, 8 if big else 4)
        (count,) = struct.unpack_from(order + number, data, start)
        start += struct.calcsize(order + number)
        step = entry.size + struct.calcsize(pointer)
        for position in range(start, start + min(count, 4096) * step, step):
            tag, kind, length = entry.unpack_from(data, position)
            if kind not in (_SHORT, _LONG) or not length:
                continue
            value = position + entry.size
            if length * (2 if kind == _SHORT else 4) > struct.calcsize(pointer):
                (value,) = struct.unpack_from(order + pointer, data, value)
            (tags[tag],) = struct.unpack_from(order + ("H" if kind == _SHORT else "I"), data, value)
    except struct.error:
        return {}
    return tags
