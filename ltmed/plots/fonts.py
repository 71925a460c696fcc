"""Fonts for names: DejaVu Sans, and for letters that it lacks other fonts of this machine."""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import groupby
from typing import Any

from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

BASE = "DejaVu Sans"
"""Comes with matplotlib."""
MISSING = "\u25a1"
"""In place of a letter that no font has."""
_PREFERRED = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Source Han Sans SC", "Source Han Sans CN",
    "Microsoft YaHei", "PingFang SC", "Hiragino Sans GB", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "SimHei",
    "Noto Sans", "Arial Unicode MS",
)  # fmt: skip
"""Fonts that are tried first."""

_PLACEHOLDERS = "Last Resort"
"""Fonts that have a box for every letter."""

_families: dict[str, str] = {BASE: font_manager.findfont(font_manager.FontProperties(family=[BASE]))}
"""Family -> file: BASE, and fonts with letters that it lacks."""
_known_missing: set[str] = set()


def families() -> list[str]:
    """Names of the fonts for matplotlib's `font.family`, which takes each letter from the first that has it."""
    return list(_families)


def require(texts: Iterable[str]) -> None:
    """Finds fonts with the letters of some texts; warns once of letters that no font of this machine has."""
    lacking = {letter for text in texts for letter in text if not has(letter)}
    lacking -= _known_missing
    if not lacking:
        return
    for family, path in _candidates():
        available = {letter for letter in lacking if ord(letter) in _letters(path)}
        if available:
            _families[family] = path
            lacking -= available
        if not lacking:
            return
    _known_missing.update(lacking)
    listed = "".join(sorted(lacking)[:10]) + ("..." if len(lacking) > 10 else "")
    warnings.warn(
        f"no font on this machine has the letters {listed}: figures show boxes in their place. Install one that has "
        "them, for instance Noto Sans CJK for Chinese, Japanese and Korean",
        stacklevel=2,
    )


def strings(value: Any) -> Iterator[str]:
    """All texts in the arguments of a plotting function."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from (text for key, item in value.items() for part in (key, item) for text in strings(part))
    elif isinstance(value, Sequence) and not isinstance(value, bytes):
        yield from (text for item in value for text in strings(item))


def has(letter: str) -> bool:
    """Whether one of `families` has a letter; spaces and control characters need none."""
    return unicodedata.category(letter) in ("Zs", "Cc", "Cf") or any(
        ord(letter) in _letters(path) for path in _families.values()
    )


def printable(text: str) -> str:
    """The text with a box for each letter that no font has."""
    return "".join(letter if has(letter) else MISSING for letter in text)


def width(text: str, size: float) -> float:
    """Inches that the longest line of `text` takes at `size` points."""
    lines = (_line_width(line, size) for line in printable(text).splitlines())
    return 1.04 * max(lines, default=0.0) / 72  # At another resolution letters are rounded to other widths.


def _line_width(line: str, size: float) -> float:
    total = 0.0
    for path, letters in groupby(line, _font_of):
        font = _measuring(path)
        font.set_size(size, 72)
        font.set_text("".join(letters))
        total += font.get_width_height()[0] / 64
    return total


def _font_of(letter: str) -> str:
    return next((path for path in _families.values() if ord(letter) in _letters(path)), _families[BASE])


def _candidates() -> Iterator[tuple[str, str]]:
    """(family, file) of every upright font of this machine, the preferred ones first."""
    listed = {entry.fname for entry in font_manager.fontManager.ttflist}
    for file in font_manager.findSystemFonts():
        if file not in listed:  # Installed since matplotlib built its list.
            try:
                font_manager.fontManager.addfont(file)
            except Exception:  # FreeType's and others': a file that is no font, or an unsupported one.
                continue
    upright: dict[str, tuple[int, str]] = {}
    for entry in font_manager.fontManager.ttflist:
        if entry.style == "normal" and not entry.name.startswith(_PLACEHOLDERS):
            weight = entry.weight if isinstance(entry.weight, int) else font_manager.weight_dict[entry.weight]
            weight = abs(weight - 400)
            upright[entry.name] = min(upright.get(entry.name, (weight, entry.fname)), (weight, entry.fname))
    rank = {name: index for index, name in enumerate(_PREFERRED)}
    for family in sorted(upright, key=lambda name: (rank.get(name, len(rank)), name)):
        yield family, upright[family][1]


@cache
def _letters(path: str) -> frozenset[int]:
    try:
        return frozenset(font_manager.get_font(path).get_charmap())
    except (OSError, RuntimeError):  # A font that FreeType cannot read.
        return frozenset()


@cache
def _measuring(path: str) -> FT2Font:
    # A separate object, since the size of matplotlib's shared one must not change while it draws.
    return FT2Font(font_manager.get_font(path).fname)
