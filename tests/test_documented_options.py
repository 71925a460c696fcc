"""Every option that the fidelity page names can be given to a run, and no row is left open that a paper answers."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from tests.harness import ROOT
from tests.test_presets import composed


def section(start: str, end: str) -> list[str]:
    """The lines of docs/explanation/fidelity.md from one heading to another."""
    text = (ROOT / "docs/explanation/fidelity.md").read_text()
    return text[text.index(f"\n{start}\n") : text.index(f"\n{end}\n")].splitlines()


def options(start: str = "## Baselines", end: str = "## Data sets") -> list[str]:
    """What stands between backticks in the last column of the tables of a section, by default of baselines."""
    rows = section(start, end)
    cells = [re.split(r"(?<!\\)\|", row)[-2] for row in rows if row.startswith("|")]
    # "`name: value` / `other value`" is one option.
    return sorted({option for cell in cells for option in re.findall("`([^`]+)`(?: / `[^`]+`)*", cell)})


@lru_cache
def tree(file: Path) -> Any:
    """The config of a loss or a method."""
    cfg = {"loss": OmegaConf.load(file)} if file.parent.name == "loss" else composed(f"method={file.stem}")
    return OmegaConf.to_container(OmegaConf.create(cfg))


def files(path: list[str]) -> Iterator[Path]:
    """Where a setting may be, the likely ones first: to compose all methods takes seconds."""
    folders = [ROOT / "conf/loss"] if path[0] == "loss" else []
    found = sorted(file for folder in [*folders, ROOT / "conf/method"] for file in folder.glob("*.yaml"))
    yield from sorted(found, key=lambda file: not re.search(rf"\b{re.escape(path[-1])}:", file.read_text()))


def has(node: Any, path: list[str]) -> bool:
    if not path:
        return True
    return isinstance(node, dict) and any(has(node[key], path[1:]) for key in node if fnmatch(str(key), path[0]))


@pytest.mark.parametrize("option", options())
def test_option_exists(option: str) -> None:
    if "=" in option:  # A command or a part of one.
        composed(*shlex.split(option))
        return
    # A setting, perhaps with its value, perhaps below the module of a stage.
    path = re.sub(r"<\w+>", "*", option.split(":")[0]).split(".")
    below = ["method", "stages", "*", "module", *path]
    assert any(has(tree(file), path) or has(tree(file), below) for file in files(path)), f"no method has {option}"


SECTIONS = {
    "pcct": ("## PCCT", "## ProCo"),
    "proco": ("## ProCo", "### ProCo: evidence"),
    "aduni": ("## AdUni", "## LMD"),
    "lmd": ("## LMD", "### LMD: consistency from random weights"),
    "alpa": ("## ALPA", "## Readings tried on real images"),
}
"""Method -> where its first table begins, and the heading after it."""
OF_METHODS = [(method, option) for method, place in SECTIONS.items() for option in options(*place)]


@pytest.mark.parametrize(("method", "option"), OF_METHODS)
def test_option_of_a_paper_exists(method: str, option: str) -> None:
    if "=" in option:
        composed(*([] if option.startswith("method=") else [f"method={method}"]), *shlex.split(option))
        return
    cfg = tree(ROOT / f"conf/method/{method}.yaml")
    path, stages = re.sub(r"<\w+>", "*", option.split(":")[0]).split("."), ["method", "stages"]
    places = [path, [*stages, *path], [*stages, "*", *path], [*stages, "*", "module", *path]]
    assert any(has(cfg, place) for place in places), f"{method} has no {option}"


@pytest.mark.parametrize("method", SECTIONS)
def test_no_row_of_a_paper_is_left_open(method: str) -> None:
    rows = [row for row in section(*SECTIONS[method]) if row.startswith("|")][2:]
    assert len(rows) > 20
    for row in rows:
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]]
        assert len(cells) == 6, row
        assert all(cells[:4]), row
        assert not re.search(r"not in our notes|not checked|not said|not looked up", row), row


def test_the_column_was_found() -> None:
    assert len(options()) > 40
    assert len(OF_METHODS) > 80


def test_every_table_has_one_header_below_an_empty_line() -> None:
    lines = (ROOT / "docs/explanation/fidelity.md").read_text().splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith("| point |")]
    assert len(starts) > 5
    for number in starts:
        assert lines[number - 1] == ""
        assert set(lines[number + 1]) == {"|", "-"}
