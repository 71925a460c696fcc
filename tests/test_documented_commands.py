"""Every command of README, documentation, experiments and configurations can be given as it stands there.

Overrides are composed and checked, options and studies exist; nothing is read or trained.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from functools import cache
from string import Template

import click
import pytest

from ltmed.cli.command_line import for_hydra, parse
from ltmed.cli.main import COMMANDS, program
from ltmed.config.compose import compose_with_choices
from ltmed.config.overrides import setting
from ltmed.config.paths import choices
from ltmed.data.readers._groups import ids_in_names
from ltmed.evaluation.scalars import ALL_SCALARS, PER_LABEL
from ltmed.plots.loss_gradients import named_loss
from ltmed.runs.job import plan
from ltmed.studies import catalogue
from ltmed.studies.filters import StudyFilters
from ltmed.studies.sweeper import jobs_of
from tests.harness import ROOT

_MADE = {"generated", "results"}
_DOCS = [page for page in (ROOT / "docs").rglob("*.md") if not _MADE & {*page.relative_to(ROOT).parts}]
"""Without those that are copied or generated when the documentation is built."""
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *_DOCS, *(ROOT / "experiments").glob("*/README.md")]
CONFIGS = [*(ROOT / "conf").rglob("*.yaml"), *(ROOT / "experiments").rglob("*.yaml")]
MADE_BY_THE_READER = ("my-conf", "mine/table", "method=humble", "loss=tempered")
"""Parts of commands about files that the page tells its reader to write."""
LAUNCHERS = ("srun", "torchrun")


def code_lines(page: str) -> Iterator[str]:
    """The lines of indented and fenced blocks, and what stands alone between backticks, continued lines joined."""
    fenced, begun = False, ""
    for line in page.splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            begun += line.strip()
            if begun.endswith("\\"):
                begun = begun[:-1]
                continue
            yield begun
        begun = ""
    prose = re.sub(r"```.*?```|^    .*$", "", page, flags=re.DOTALL | re.MULTILINE)
    yield from (" ".join(code.split()) for code in re.findall(r"(?<!`)`((?:ltmed|python run\.py) \w+ [^`]+)`", prose))


def comments(config: str) -> Iterator[str]:
    """Commands in comments, continued lines joined."""
    text = re.sub(r"\\\n#\s*", "", config)
    yield from re.findall(r"^#.*?((?:ltmed train|python run\.py) [^`\n]+)$", text, re.MULTILINE)


def commands(lines: Iterator[str]) -> Iterator[tuple[str, ...]]:
    """The arguments of `ltmed` on each of the lines; variables that an earlier line sets have their values."""
    variables: dict[str, str] = {}
    for line in lines:
        if assigned := re.fullmatch(r"([A-Z]+)=(\"?)([^\"]*)\2", line):
            variables[assigned[1]] = assigned[3]
            continue
        line = re.sub(r"^(\w+=\S+ )+", "", Template(line).safe_substitute(variables))
        if not line.startswith(("ltmed ", "python run.py ", *LAUNCHERS)):
            continue
        arguments = shlex.split(line.replace("python run.py", "ltmed train"), comments=True)
        program = next(place for place, argument in enumerate(arguments) if argument in ("ltmed", "ltmed.cli"))
        arguments = arguments[program + 1 :]
        if ">" in arguments:
            arguments = arguments[: arguments.index(">")]
        yield tuple(argument for argument in arguments if argument != "...")


def documented() -> dict[tuple[str, ...], str]:
    """Each command once, with the file that has it."""
    found: dict[tuple[str, ...], str] = {}
    for files, lines in ((PAGES, code_lines), (CONFIGS, comments)):
        for file in sorted(files):
            for arguments in commands(lines(file.read_text(encoding="utf-8"))):
                if arguments and not any(part in " ".join(arguments) for part in MADE_BY_THE_READER):
                    found.setdefault(arguments, str(file.relative_to(ROOT)))
    return found


FOUND = documented()


def test_the_commands_were_found() -> None:
    assert len(FOUND) > 150
    assert {arguments[0] for arguments in FOUND} >= set(COMMANDS) - {"card"}
    assert len(set(FOUND.values())) > 30


def test_an_installed_user_can_type_them() -> None:
    """`python run.py` is the same program, in a clone only; that is said where it is introduced."""
    said = [file.relative_to(ROOT).as_posix() for file in [*PAGES, *CONFIGS] if "python run.py" in file.read_text()]
    assert sorted(said) == ["README.md", "docs/howto/install.md", "docs/howto/runs.md"]


def test_a_folder_of_classes_is_given_a_split_that_it_allows() -> None:
    """It tells of no patients: split=grouped, the default, refuses it where no pattern finds some in the paths."""
    given = [command for command in FOUND if command[0] in ("train", "recommend") and "dataset=image_folder" in command]
    assert len(given) > 3
    for command in given:
        assert {setting(override) for override in command} & {"split", "dataset.group_pattern"}, " ".join(command)


def test_the_pattern_of_the_tutorial_keeps_a_patient_of_two_classes_together() -> None:
    (code,) = re.findall(
        r"`(\S*dataset\.group_pattern=\S*)`", (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    )
    (override,) = shlex.split(code)
    cfg, _ = compose_with_choices(("dataset=image_folder", override))
    ids = ids_in_names(
        re.compile(cfg.dataset.group_pattern), ["basal_cell/p1_a.jpg", "nevus/p1_b_c.jpg", "nevus/p2_a.jpg"]
    )
    assert list(ids.values()) == [["p1", "p1", "p2"]]


def is_choice(override: str) -> bool:
    """Whether it chooses a configuration that exists, of a group that every method uses."""
    group, _, name = override.partition("=")
    return group in ("method", "dataset", "backbone", "split", "trainer", "logger") and name in choices(group)


@cache
def compose(*overrides: str) -> None:
    if not all(is_choice(override) for override in overrides):
        cfg, chosen = compose_with_choices(overrides)
        plan(cfg, overrides, chosen)


def train(arguments: Sequence[str]) -> None:
    if "--help" in arguments:
        return
    given, jobs = for_hydra(arguments)
    if jobs:
        first = jobs_of(jobs)[0]
        if catalogue.split_study(jobs)[0] is not None:
            return  # Cells of all studies are composed in tests/studies/test_studies.py.
        given = [*given, *first]
    overrides = parse(given).overrides
    own = [override for override in overrides if setting(override).startswith("hydra")]
    if own:
        compose_with_choices(own)
    # A range to search, and paths that are not there.
    left_out = [
        override
        for override in overrides
        if "(" in override or setting(override) in ("dataset.root", "backbone.weights")
    ]
    compose(*sorted({*overrides} - {*own, *left_out}))


def study(what: Sequence[str]) -> None:
    if re.match(r"runs|RUN|experiments/|.*\.csv$", what[0]):
        return
    filters = StudyFilters(what[1:])
    assert filters.select(catalogue.load(what[0], filters.scale)).rows


@pytest.mark.parametrize("arguments", FOUND, ids=lambda arguments: " ".join(arguments)[:70])
def test_it_can_be_given(arguments: tuple[str, ...]) -> None:
    name, *rest = arguments
    if name == "train":
        train(rest)
        return
    command = program.get_command(click.Context(program), name)
    assert command is not None
    given = command.make_context(name, list(rest)).params
    if name in ("report", "plot") and given["what"]:
        study(given["what"])
    for metric, _, label in (metric.partition(":") for metric in given.get("metrics") or ()):
        assert metric in (PER_LABEL if label else ALL_SCALARS)
    for loss in given.get("losses") or ():
        named_loss(loss)
    overrides = [argument for argument in given.get("overrides") or () if setting(argument) not in ("map", "scale")]
    if overrides:
        compose(*sorted(argument for argument in overrides if setting(argument) != "dataset.root"))
