"""The candidates of a search for a configuration, and its rungs: of growing cost, for fewer and fewer candidates."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ltmed.config.paths import study_file

FILE = "recommend/_rungs.yaml"


@dataclass(frozen=True)
class Rung:
    """One step of a search."""

    name: str
    title: str
    overrides: tuple[str, ...]
    share: float
    """Of the budget."""
    keep: int | None
    """Number of candidates that enter, beside the reference; None for all."""
    min_epochs: int | None = None
    """Smallest number of epochs of a run; None where the overrides fix it."""
    max_epochs: int | None = None
    """Largest number of epochs of a run."""
    overrides_small: tuple[str, ...] = ()
    """In place of `overrides` on a small data set (see `Plan.small_below`); empty: the same."""

    @property
    def is_screening(self) -> bool:
        """Whether its overrides fix the number of epochs."""
        return self.min_epochs is None


@dataclass(frozen=True, order=True)
class Candidate:
    """One choice of each group that is varied."""

    choices: tuple[tuple[str, str], ...]
    """(group, choice) pairs in the order of the groups."""

    @property
    def label(self) -> str:
        """The choices alone."""
        return ", ".join(choice for _, choice in self.choices)

    @property
    def overrides(self) -> tuple[str, ...]:
        """Of its plain command."""
        return tuple(f"{group}={choice}" for group, choice in self.choices)


@dataclass(frozen=True)
class Plan:
    """The file of rungs."""

    vary: tuple[str, ...]
    repetitions: int
    rungs: tuple[Rung, ...]
    small_below: int = 0
    """A data set with fewer training images is small: rungs then have their `overrides_small`."""

    def fitting(self, images: int) -> Plan:
        """The plan for this number of training images."""
        if images >= self.small_below:
            return self
        return replace(
            self, rungs=tuple(replace(rung, overrides=rung.overrides_small or rung.overrides) for rung in self.rungs)
        )


def read() -> Plan:
    """The rungs that come with the package."""
    from omegaconf import OmegaConf

    plain: Any = OmegaConf.to_container(OmegaConf.load(study_file(FILE)))
    rungs = []
    for name, node in plain["rungs"].items():
        min_epochs, max_epochs = node.get("epochs") or (None, None)
        overrides, small = (tuple(node.get(key, "").split()) for key in ("overrides", "overrides_small"))
        rungs.append(Rung(name, node["title"], overrides, node["share"], node["keep"], min_epochs, max_epochs, small))
    return Plan(tuple(plain["vary"]), int(plain["repetitions"]), tuple(rungs), int(plain["small_below"]))


def single_changes(reference: Candidate, groups: Mapping[str, Iterable[str]]) -> list[Candidate]:
    """The candidates that differ from the reference in one group, all of the first group first."""
    candidates = []
    for index, (group, chosen) in enumerate(reference.choices):
        for choice in groups[group]:
            if choice != chosen:
                pairs = list(reference.choices)
                pairs[index] = (group, choice)
                candidates.append(Candidate(tuple(pairs)))
    return candidates


def combinations(reference: Candidate, gains: Mapping[Candidate, float]) -> list[Candidate]:
    """The candidates that differ from the reference in several groups, the most promising first.

    Args:
        reference: the defaults.
        gains: of every single change that could be run, over the reference; a combination of others is left out. The
            promise of a combination is the sum of its gains.
    """
    of: dict[str, list[tuple[str, float]]] = {group: [] for group, _ in reference.choices}
    for candidate, gain in gains.items():
        ((group, choice),) = set(candidate.choices) - set(reference.choices)
        of[group].append((choice, gain))
    candidates: list[tuple[float, Candidate]] = []
    options = [[(chosen, None), *of[group]] for group, chosen in reference.choices]
    for chosen in itertools.product(*options):
        gains_of_changes = [gain for _, gain in chosen if gain is not None]
        if len(gains_of_changes) > 1:
            pairs = zip(of, (choice for choice, _ in chosen), strict=True)
            candidates.append((sum(gains_of_changes), Candidate(tuple(pairs))))
    return [candidate for _, candidate in sorted(candidates, key=lambda pair: (-pair[0], pair[1]))]


def affordable(
    rung: Rung, candidates: int, repetitions: int, seconds: float, epoch: float, overhead: float
) -> tuple[int, int]:
    """How many candidates a rung can have, and for how many epochs.

    All candidates stay if each then has `min_epochs`; otherwise fewer are trained that long.

    Args:
        rung: with `min_epochs` and `max_epochs`.
        candidates: that could come, without the reference.
        repetitions: of each.
        seconds: that the rung may take.
        epoch: seconds of one epoch of one run.
        overhead: seconds of a run besides its epochs.

    Returns:
        (candidates without the reference, epochs); (0, 0) if not even one can be compared with the reference.
    """
    assert rung.min_epochs is not None
    assert rung.max_epochs is not None
    for number in range(candidates, 0, -1):
        seconds_of_run = seconds / ((number + 1) * repetitions)
        epochs = math.floor((seconds_of_run - overhead) / epoch + 1e-9)
        if epochs >= rung.min_epochs:
            return number, min(epochs, rung.max_epochs)
    return 0, 0


def ranked(values: Mapping[Candidate, Sequence[float | None]], maximise: bool) -> list[Candidate]:
    """Best first: those with more repetitions before those with fewer, then by their mean.

    A value that is undefined makes the mean undefined, which is worse than any other. Of equals the first one given
    stays first.
    """

    def order(candidate: Candidate) -> tuple[int, float]:
        mean = mean_of(values[candidate])
        return -len(values[candidate]), math.inf if mean is None else (-mean if maximise else mean)

    return sorted(values, key=order)


def mean_of(values: Sequence[float | None]) -> float | None:
    """The mean; None where a value is undefined, or there is none."""
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined and len(defined) == len(values) else None
