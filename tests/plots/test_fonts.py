"""Names in letters that DejaVu Sans lacks: a font that has them is found, and where there is none it is said once."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager

from ltmed.plots import fonts
from ltmed.plots.run import confusion
from tests.plots.cases import case, saved

LETTER, ABSENT = "\uf8f0", "\uf8f1"
"""For private use: no real font has them."""


def make_font(file: Path, letter: str) -> None:
    """A font with one letter, a square."""
    pen = TTGlyphPen(None)
    for move, *point in ((pen.moveTo, 0, 0), (pen.lineTo, 0, 800), (pen.lineTo, 800, 800), (pen.lineTo, 800, 0)):
        move(tuple(point))
    pen.closePath()
    square = pen.glyph()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "square"])
    builder.setupCharacterMap({ord(letter): "square"})
    builder.setupGlyf({".notdef": square, "square": square})
    builder.setupHorizontalMetrics({".notdef": (900, 0), "square": (900, 0)})
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": "One Letter", "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=900, sTypoDescender=-100, usWeightClass=400)
    builder.setupPost()
    builder.save(file)


@pytest.fixture
def one_letter(tmp_path, monkeypatch) -> Path:
    """A font that is on this machine, but not in the list that matplotlib made."""
    file = tmp_path / "one.ttf"
    make_font(file, LETTER)
    found = [str(file)]
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda *_, **__: found)
    monkeypatch.setattr(fonts, "_families", dict(fonts._families))
    monkeypatch.setattr(fonts, "_known_missing", set())
    monkeypatch.setattr(font_manager.fontManager, "ttflist", list(font_manager.fontManager.ttflist))
    return file


@pytest.mark.filterwarnings("error")
def test_a_font_with_the_letters_is_found_and_used(one_letter, tmp_path):
    few = case(3)
    names = [f"class {LETTER}", "b", "c"]
    figure = saved(confusion.confusion_matrix(few.confusion, names, few.tiers, few.counts, LETTER), tmp_path)
    assert fonts.families() == [fonts.BASE, "One Letter"]
    shown = {text.get_text(): text for text in figure.axes[0].get_yticklabels()}
    assert shown[f"class {LETTER}"].get_fontfamily() == [fonts.BASE, "One Letter"]
    assert fonts.width(LETTER, 72) == pytest.approx(1.04 * 0.9, rel=0.05), "0.9 em of its own font"


def test_letters_that_no_font_has_are_boxes_and_are_warned_of_once(one_letter, tmp_path):
    few = case(3)
    names = [f"class {ABSENT}", "b", "c"]
    with pytest.warns(UserWarning, match=f"no font .* has the letters {ABSENT}") as warned:
        confusion.confusion_matrix(few.confusion, names, few.tiers, few.counts)
    assert len(warned) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = saved(confusion.confusion_matrix(few.confusion, names, few.tiers, few.counts, ABSENT), tmp_path)
    assert f"class {fonts.MISSING}" in {text.get_text() for text in figure.axes[0].get_yticklabels()}


def test_placeholders_are_no_font():
    assert not any(family.startswith("Last Resort") for family, _ in fonts._candidates())
