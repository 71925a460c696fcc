"""The rooms of the package: imports point downwards only, and nothing else stands at the root."""

from __future__ import annotations

import ast
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "ltmed"
ORDER = (
    "cli", "train", "methods", "plots", "report", "inference", "studies", "training", "logging", "runs", "config",
    "data", "nn", "losses", "evaluation", "utils", "errors",
)  # fmt: skip
"""From the top down; docs/explanation/architecture.md gives the reasons."""
MODULES = sorted(PACKAGE.rglob("*.py"))
LARGE = ("cli", "losses", "methods", "nn", "data/readers")
"""Rooms that grow with the field, or hold one file per command or concept."""


class Read(NamedTuple):
    """What the tests look at in a module."""

    rooms: set[str]
    """The first part of every import from the package, type-checking ones excluded."""
    targets: set[str]
    """Modules and names that it imports from the package, for type checking too."""
    configured: set[str]
    """Functions with an argument `cfg`."""


@cache
def read(file: Path) -> Read:
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    typing_only = {
        id(inner)
        for node in nodes
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found = Read(set(), set(), set())
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "ltmed":
            found.targets.update({node.module}, (f"{node.module}.{alias.name}" for alias in node.names))
            if id(node) not in typing_only:
                parts = node.module.split(".")
                found.rooms.update({parts[1]} if len(parts) > 1 else {alias.name for alias in node.names})
        elif isinstance(node, ast.Import) and id(node) not in typing_only:
            found.rooms.update(a.name.split(".")[1] for a in node.names if a.name.startswith("ltmed."))
        elif isinstance(node, ast.FunctionDef):
            arguments = [argument.arg for argument in [*node.args.args, *node.args.kwonlyargs]]
            found.configured.update([node.name] if "cfg" in arguments else [])
    return found


def name_of(file: Path) -> str:
    return str(file.relative_to(PACKAGE))


def test_imports_point_downwards() -> None:
    wrong = {}
    for file in MODULES:
        room = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if room != "__init__" and (above := {*ORDER[: ORDER.index(room)]} & read(file).rooms):
            wrong[name_of(file)] = above
    assert not wrong, "modules import from rooms above theirs"


def test_nothing_else_at_the_root() -> None:
    assert {path.stem for path in PACKAGE.glob("*.py")} <= {"__init__", "train", "errors"}
    assert {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"} <= set(ORDER)


ROOMS = sorted(str(file.parent.relative_to(PACKAGE)) for file in PACKAGE.rglob("__init__.py") if file.parent != PACKAGE)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_what_it_is_for_and_fits_on_a_screen(room: str) -> None:
    tree = ast.parse((PACKAGE / room / "__init__.py").read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    files = [path for path in (PACKAGE / room).glob("*.py") if path.stem != "__init__"]
    assert len(files) <= (40 if room in LARGE else 16)
    assert len(files) >= 2


def test_files_are_short() -> None:
    lines = {name_of(file): len(file.read_text(encoding="utf-8").splitlines()) for file in MODULES}
    assert len(lines) > 200
    assert not {name: number for name, number in lines.items() if number > 300}


@pytest.mark.parametrize("room", ["losses", "nn"])
def test_science_knows_no_framework(room: str) -> None:
    for file in (PACKAGE / room).glob("*.py"):
        text = file.read_text(encoding="utf-8")
        assert "lightning" not in text.split('"""', 2)[-1]
        assert "omegaconf" not in text
        assert "hydra" not in text


def test_no_circles() -> None:
    """Not even between modules of one room, and not through imports inside functions."""
    graph: dict[str, set[str]] = {}
    names = {".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts) for file in MODULES}
    for file in MODULES:
        module = ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts)
        graph[module] = read(file).targets & names - {module}
    TopologicalSorter(graph).prepare()  # Raises CycleError, which names the circle.


ON_THE_WAY = ("train", "config", "data", "runs", "training", "logging", "cli/job")
"""What a run goes through."""
ELSEWHERE = {"read_manifest"}
"""Of `ltmed check`."""


def test_the_configuration_goes_through_few_functions() -> None:
    """Others are given the values that they need."""
    places = [file for file in MODULES if str(file.relative_to(PACKAGE).with_suffix("")).startswith(ON_THE_WAY)]
    functions = {f"{file.stem}.{name}" for file in places for name in read(file).configured - ELSEWHERE}
    assert 15 < len(functions) <= 25, sorted(functions)
