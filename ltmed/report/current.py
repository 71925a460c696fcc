"""Whether the runs of a study's cell were trained with the settings that the study has now.

A cell's folder is named by its overrides. What they leave to the files of `conf/` may have changed between two folds,
and the mean over both would be of no method at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltmed.config.overrides import setting
from ltmed.errors import UserError
from ltmed.report.columns import row_settings
from ltmed.report.formatting import Settings
from ltmed.runs.directory import METRICS, identity

if TYPE_CHECKING:
    from ltmed.runs.reader import Run
    from ltmed.studies.study import Repetition

_OF_THE_DEVICE = ("trainer.precision",)
"""Settings that are filled in for the device at hand, which need not be the one that a run was trained on."""


def left_out(finished: Sequence[tuple[Repetition, Run]]) -> dict[Path, str]:
    """Folders of a cell's runs that differ from what the study says now, or from the others -> in what they differ.

    A setting that only one side has (a newer version of ltmed may have added it) does not tell a run from the study,
    but does tell runs from each other.

    Args:
        finished: the repetitions of a cell with their finished runs.
    """
    if not finished:
        return {}
    varied = _varied([repetition for repetition, _ in finished])
    recorded = {run.path: _without(row_settings(identity(run.config)), varied) for _, run in finished}
    now = _now(finished[0][0], varied)
    differing: dict[Path, str] = {}
    current = []
    for _, run in finished:
        known = recorded[run.path]
        keys = (key for key in sorted(known.keys() & now.keys()) if key not in _OF_THE_DEVICE)
        if key := next((key for key in keys if known[key] != now[key]), None):
            differing[run.path] = f"{key} was {known[key]} and is now {now[key]}"
        else:
            current.append(run)
    if not current:
        return differing
    equal = Counter(str(sorted(recorded[run.path].items())) for run in current)

    def order(run: Run) -> tuple[int, int, float]:
        known = recorded[run.path]
        alone = len(known.keys() ^ now.keys())
        return alone, -equal[str(sorted(known.items()))], -(run.path / METRICS).stat().st_mtime

    typical = recorded[min(current, key=order).path]
    for run in current:
        if key := next(_differences(recorded[run.path], typical), None):
            own, other = (settings.get(key, "unset") for settings in (recorded[run.path], typical))
            differing[run.path] = f"{key} is {own}, and {other} in other runs of the cell"
    return differing


def _varied(repetitions: Sequence[Repetition]) -> set[str]:
    """The settings that the study itself varies over the repetitions of a cell."""
    counts = Counter(override for repetition in repetitions for override in set(repetition.overrides))
    return {setting(override).lstrip("+") for override, count in counts.items() if count < len(repetitions)}


def _without(settings: Settings, keys: Collection[str]) -> Settings:
    return {key: value for key, value in settings.items() if not any(f"{key}.".startswith(f"{k}.") for k in keys)}


def _now(repetition: Repetition, varied: Collection[str]) -> dict[str, Any]:
    """What the command of a repetition would be trained with today; nothing if it cannot be composed any more."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from ltmed.config.compose import compose_with_choices
    from ltmed.config.resolve import resolve
    from ltmed.runs.job import folder_of

    try:  # Without the checks of a run, most of whose time is the import of what it would build.
        composed, choices = compose_with_choices(repetition.overrides)
        cfg = resolve(composed, folder_of(composed, repetition.overrides, choices))
    except (UserError, HydraException, OmegaConfBaseException):
        return {}
    return _without(row_settings(identity(cfg)), varied)


def _differences(one: Settings, other: Settings) -> Iterator[str]:
    for key in sorted(one.keys() | other.keys()):
        if key not in one or key not in other or one[key] != other[key]:
            yield key
