"""Successive halving over rungs of growing cost, within a budget of wall time; every decision can be read back.

A rung without epochs of its own tries every candidate: the reference, single changes, then combinations in the order
of what their parts promised. Its second repetition is for the better half. Later rungs take the best of the one before,
train them for as long as their share of the budget allows, and compare the means over the repetitions. Only validation
figures decide. What a rung has decided stays decided when the command is stopped and started again.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ltmed.errors import UserError
from ltmed.runs.directory import METRICS
from ltmed.studies.budget import Budget
from ltmed.studies.rungs import Candidate, Plan, Rung, affordable, combinations, mean_of, ranked, single_changes

_FIRST = 2 / 3
"""Share of the first rung's time for the first repetition; at most half of the candidates have a second one."""
_SAFETY = 0.9
"""Of a rung's time that is planned with: runs differ in their cost."""


@dataclass(frozen=True)
class Outcome:
    """A finished run."""

    folder: str
    value: float | None
    """Of the metric that decides, on validation images; None where it is undefined."""
    seconds: float
    """That the call took."""
    training: float
    """That its epochs took when they were trained."""
    epochs: float
    """How many these were; of a timing perhaps a part of one."""
    fingerprint: str


@dataclass(frozen=True)
class Trial:
    """A run that is wanted."""

    rung: Rung
    candidate: Candidate
    repetition: int
    epochs: int | None
    """None: as the rung's overrides say."""
    timing: bool = False
    """An epoch, or a part of one, that tells the others' cost, and takes no part in the comparison."""

    @property
    def key(self) -> str:
        """Its name among the outcomes."""
        kind = "timing" if self.timing else str(self.repetition)
        return f"{self.rung.name}/{self.candidate.label}/{kind}"


@dataclass
class State:
    """What is kept of a search between calls of its command."""

    spent: float = 0.0
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    """rung/candidate -> why it cannot be run."""
    epochs: dict[str, int] = field(default_factory=dict)
    """Rung -> what was decided; likewise the next one."""
    entrants: dict[str, list[str]] = field(default_factory=dict)
    closed: list[str] = field(default_factory=list)
    """Rungs that have ended."""

    def to_json(self) -> dict[str, Any]:
        """For a file; `from_json` reads it."""
        return asdict(self)

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> State:
        """What `to_json` gave."""
        outcomes = {key: Outcome(**one) for key, one in saved["outcomes"].items()}
        return cls(**{**saved, "outcomes": outcomes})


@dataclass
class Standing:
    """How a rung ended."""

    rung: Rung
    epochs: int | None = None
    values: dict[Candidate, list[float | None]] = field(default_factory=dict)
    """Of the metric that decides, one for each finished repetition."""
    order: list[Candidate] = field(default_factory=list)
    """Best first."""
    compared: int | None = None
    """How many repetitions of each were compared; None: all that a candidate has."""
    refused: dict[Candidate, str] = field(default_factory=dict)
    unfinished: list[Candidate] = field(default_factory=list)
    """No time even for one repetition."""
    note: str = ""
    """Why nothing was run."""

    def mean(self, candidate: Candidate) -> float | None:
        """Over the repetitions that were compared."""
        return mean_of(self.values.get(candidate, ())[: self.compared])


class Search:
    """Runs the rungs of a plan.

    Args:
        plan: the rungs.
        reference: what others are compared with; it takes part in every rung, and its errors end the search.
        groups: config group -> choices.
        run: runs a trial, or finds it finished.
        budget: the clock.
        state: from an earlier call.
        save: called with the state after every run and decision.
        tell: called with a line on what happened.
        maximise: whether more of the metric is better.
    """

    def __init__(
        self,
        plan: Plan,
        reference: Candidate,
        groups: Mapping[str, Sequence[str]],
        *,
        run: Callable[[Trial], Outcome],
        budget: Budget,
        state: State,
        save: Callable[[State], object],
        tell: Callable[[str], object] = lambda line: None,
        maximise: bool = True,
    ) -> None:
        self.plan, self.reference, self.groups, self.maximise = plan, reference, groups, maximise
        self.budget, self.state = budget, state
        self._run, self._save_state, self._tell = run, save, tell

    def go(self) -> list[Standing]:
        """All rungs in order; those that were closed by an earlier call are only read.

        Raises:
            UserError: the reference cannot be run.
        """
        standings: list[Standing] = []
        share = 0.0
        try:
            for rung in self.plan.rungs:
                share += rung.share
                end = share * self.budget.total
                standings.append(self._screen(rung, end) if rung.least is None else self._train(rung, end, standings))
                if rung.name not in self.state.closed:
                    self.state.closed.append(rung.name)
        finally:
            self._save()
        return standings

    def _save(self) -> None:
        self.state.spent = self.budget.spent
        self._save_state(self.state)

    # --- the first rung: every candidate ------------------------------------------------------------------------------

    def _screen(self, rung: Rung, end: float) -> Standing:
        standing = Standing(rung)
        first = self.budget.total * rung.share * _FIRST + end - self.budget.total * rung.share
        self._attempt(standing, Trial(rung, self.reference, 0, None), math.inf)
        singles = single_changes(self.reference, self.groups)
        for candidate in singles:
            self._attempt(standing, Trial(rung, candidate, 0, None), first)
        base = standing.mean(self.reference) or 0.0
        sign = 1 if self.maximise else -1
        gains = {one: sign * ((standing.mean(one) or 0.0) - base) for one in singles if one in standing.values}
        for candidate in combinations(self.reference, gains):
            self._attempt(standing, Trial(rung, candidate, 0, None), first)
        for repetition in range(1, self.plan.repetitions):
            better = ranked(standing.values, self.maximise)[: math.ceil(len(standing.values) / 2)]
            for candidate in dict.fromkeys([self.reference, *better]):
                if len(standing.values[candidate]) == repetition:
                    self._attempt(standing, Trial(rung, candidate, repetition, None), end)
        return self._ended(standing)

    # --- later rungs: the best of the one before ----------------------------------------------------------------------

    def _train(self, rung: Rung, end: float, before: Sequence[Standing]) -> Standing:
        standing = Standing(rung)
        if rung.name not in self.state.epochs and not self._decide(rung, end, before, standing):
            return standing
        standing.epochs = self.state.epochs[rung.name]
        known = {candidate.label: candidate for one in before for candidate in one.values}
        entrants = [known[label] for label in self.state.entrants[rung.name]]
        for repetition in range(self.plan.repetitions):
            for candidate in entrants:
                if len(standing.values.get(candidate, ())) == repetition:
                    limit = math.inf if candidate == self.reference and not repetition else end
                    self._attempt(standing, Trial(rung, candidate, repetition, standing.epochs), limit)
        # Where the time ended before all had a second repetition, with its own validation images, the first one counts.
        standing.compared = min((len(values) for values in standing.values.values()), default=None)
        return self._ended(standing)

    def _decide(self, rung: Rung, end: float, before: Sequence[Standing], standing: Standing) -> bool:
        """Who is let in, and for how many epochs; False, with a note, where the rest of the budget is too short."""
        if rung.name in self.state.closed:
            standing.note = "there was no time for it"
            return False
        last = next(one for one in reversed(before) if one.values)
        best = [one for one in last.order if one != self.reference][: rung.keep]
        if not best:
            standing.note = f"no candidate beside {self.reference.label} could be run"
            return False
        if self.budget.spent >= end:
            standing.note = "its share of the budget was spent before"
            return False
        epoch, overhead = self._cost(rung, before)
        number, epochs = affordable(
            rung, len(best), self.plan.repetitions, _SAFETY * (end - self.budget.spent), epoch, overhead
        )
        if not number or epochs <= (last.epochs or 0):
            least = max(rung.least or 1, (last.epochs or 0) + 1)
            need = 2 * self.plan.repetitions * (least * epoch + overhead) / _SAFETY
            standing.note = (
                f"{least} epochs of two candidates would take about {need:.0f} s, and {end - self.budget.spent:.0f} s "
                "were left"
            )
            return False
        self.state.epochs[rung.name] = epochs
        self.state.entrants[rung.name] = [one.label for one in (self.reference, *best[:number])]
        self._save()
        return True

    def _cost(self, rung: Rung, before: Sequence[Standing]) -> tuple[float, float]:
        """Seconds of an epoch, and of a run besides: the largest of the rungs before, or of a single epoch."""
        names = [one.rung.name for one in before if one.epochs]
        known = [one for key, one in self.state.outcomes.items() if key.split("/")[0] in names]
        if not known:
            known = [self._known_or_run(Trial(rung, self.reference, 0, 1, timing=True))]
        overhead = max(max(one.seconds - one.training, 0.0) for one in known)
        return max(max(one.training / one.epochs, 1e-3) for one in known), overhead

    # --- one run ------------------------------------------------------------------------------------------------------

    def _attempt(self, standing: Standing, trial: Trial, end: float) -> None:
        """Adds the trial's value to the standing; or why there is none."""
        key = f"{trial.rung.name}/{trial.candidate.label}"
        if key in self.state.refused:
            standing.refused[trial.candidate] = self.state.refused[key]
            return
        if not self._holds(trial) and (
            trial.rung.name in self.state.closed or self.budget.spent + self._expected(trial) > end
        ):
            if trial.candidate not in standing.unfinished:
                standing.unfinished.append(trial.candidate)
            return
        try:
            outcome = self._known_or_run(trial)
        except UserError as error:
            if trial.candidate == self.reference:
                raise
            self.state.refused[key] = standing.refused[trial.candidate] = error.message
            standing.values.pop(trial.candidate, None)
            self._save()
            self._tell(f"{trial.rung.name}: {trial.candidate.label} cannot be run: {error.message}")
            return
        standing.values.setdefault(trial.candidate, []).append(outcome.value)

    def _holds(self, trial: Trial) -> bool:
        """Whether an earlier call finished the trial, and its folder is still there."""
        known = self.state.outcomes.get(trial.key)
        return known is not None and Path(known.folder, METRICS).is_file()

    def _known_or_run(self, trial: Trial) -> Outcome:
        if self._holds(trial):
            return self.state.outcomes[trial.key]
        outcome = self._run(trial)
        self.state.outcomes[trial.key] = outcome
        self._save()
        value = "undefined" if outcome.value is None else f"{outcome.value:.4f}"
        what = "part of an epoch, for its cost" if trial.timing else f"repetition {trial.repetition}: {value}"
        self._tell(f"{trial.rung.name}: {trial.candidate.label}, {what} ({outcome.seconds:.1f} s)")
        return outcome

    def _expected(self, trial: Trial) -> float:
        """Seconds that the trial will probably take, from others of its rung; the first one also made the features."""
        runs = {key: one for key, one in self.state.outcomes.items() if key.startswith(f"{trial.rung.name}/")}
        known = [one.seconds for key, one in runs.items() if not key.endswith("/timing")]
        if trial.rung.least is None:
            known = known[1:]
        return statistics.median(known) if known else 0.0

    def _ended(self, standing: Standing) -> Standing:
        compared = {one: values[: standing.compared] for one, values in standing.values.items()}
        standing.order = ranked(compared, self.maximise)
        standing.unfinished = [one for one in standing.unfinished if one not in standing.values]
        return standing
