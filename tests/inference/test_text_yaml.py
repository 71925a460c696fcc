"""Maps and costs that people write: codes stay text, and a line is never lost in silence."""

from __future__ import annotations

from pathlib import Path

import pytest

from ltmed.errors import UserError
from ltmed.inference.class_map import read_map
from ltmed.inference.decide import read_costs

CLASSES = ("MEL", "NV", "01")


def written(folder: Path, text: str) -> Path:
    file = folder / "file.yaml"
    file.write_text(text)
    return file


def test_codes_are_text_as_they_are_written(tmp_path: Path) -> None:
    file = written(tmp_path, "No: [01, 010, 1e3, 1_0, yes, ~, '02', 2020-01-01]\ndrop: 08\nYes:\n")
    assert read_map(file) == {
        "No": ["01", "010", "1e3", "1_0", "yes", "~", "02", "2020-01-01"], "drop": ["08"], "Yes": []
    }  # fmt: skip


def test_costs_are_numbers_between_codes_that_are_text(tmp_path: Path) -> None:
    cost = read_costs(written(tmp_path, "MEL: {01: 20, nv: 1e1}\n01: {MEL: .5}\n"), CLASSES)
    assert cost.tolist() == [[0, 10, 20], [1, 0, 1], [0.5, 1, 0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("MEL: {NV: 20}\n01: {NV: 5}\nMEL: {01: 7}\n", "--cost=.* gives 'MEL' in lines 1 and 3"),
        ("MEL: {NV: 20, NV: 5}\n", "--cost=.* gives 'NV' twice in line 1"),
        ("MEL: {NV: 20}\nmel: {NV: 5}\n", "mel as NV has two costs"),
        ("MEL: {NV: many}\n", "costs 'many'"),
        ("MEL: {NV: nan}\n", "costs 'nan'"),
        ("MEL: {NV: .inf}\n", "costs '.inf'"),
        ("MEL: {NV: -1}\n", "costs '-1'"),
        ("MEL: {NV: [1]}\n", "costs"),
        ("MEL: {1: 20}\n", "no class '1'"),
        ("- MEL\n", "no map of true classes"),
        ("MEL: {NV: 20\n", "is no YAML"),
    ],
)
def test_costs_that_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_costs(written(tmp_path, text), CLASSES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A: [x]\nB: [y]\nA: [z]\n", "map=.* gives 'A' in lines 1 and 3"),
        ("drop: [x]\ndrop: [y]\n", "gives 'drop' in lines 1 and 2"),
        ("A: {x: y}\n", "'A' has no list"),
        ("A: [[x]]\n", "'A' has no list"),
        ("", "is no map"),
        ("[x, y]", "is no map"),
        ("? [A]\n: [x]\n", "is no YAML"),
    ],
)
def test_maps_that_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_map(written(tmp_path, text))
    with pytest.raises(UserError, match="cannot be read"):
        read_map(tmp_path / "missing.yaml")
