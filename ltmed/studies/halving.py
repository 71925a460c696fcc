"""Successive halving over rungs of growing cost, within a budget of wall time; every decision is saved.

A rung without epochs of its own tries every candidate: the reference, single changes, then combinations, ordered by the
sum of the gains of their changes. Only the better half is repeated. Later rungs take the best of the rung before, train
them for as long as their share of the budget allows, and compare the means over the repetitions. Only validation
metrics decide. If no later rung has room, the first one is continued with the time that is left. The decisions of a
rung are saved and hold when the command is stopped and started again.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ltmed.errors import UserError
from ltmed.runs.directory import METRICS
from ltmed.studies.budget import Budget
from ltmed.studies.rungs import Candidate, Plan, Rung, affordable, combinations, mean_of, ranked, single_changes
from ltmed.studies.trials import Outcome, State, Trial, is_of_settings

_FIRST_SHARE = 2 / 3
"""Share of the first rung's time for the first repetition; at most half of the candidates have a second one."""
_PLANNED_SHARE = 0.9
"""Share of a rung's time that is planned for, since the cost of runs varies."""

MORE_TIME = "A larger --budget has room for it."


@dataclass
class Standing:
    """The result of a rung."""

    rung: Rung
    epochs: int | None = None
    values: dict[Candidate, list[float | None]] = field(default_factory=dict)
    """Of the metric that decides, one for each finished repetition."""
    order: list[Candidate] = field(default_factory=list)
    """Best first."""
    compared: int | None = None
    """Number of repetitions of each candidate that were compared; None: all of them."""
    is_cut_short: bool = False
    """Whether the time ended before all candidates that were to be repeated had been; `compared` is a number then."""
    refused: dict[Candidate, str] = field(default_factory=dict)
    unfinished: list[Candidate] = field(default_factory=list)
    """Candidates without time for even one repetition."""
    note: str = ""
    """The reason if nothing was run, and what to do; a sentence that goes on."""

    def mean(self, candidate: Candidate) -> float | None:
        """Over the repetitions that were compared."""
        return mean_of(self.compared_values(candidate))

    def compared_values(self, candidate: Candidate) -> list[float | None]:
        """One for each repetition that was compared."""
        return self.values.get(candidate, [])[: self.compared]


class Search:
    """Runs the rungs of a plan.

    Args:
        plan: the rungs.
        reference: what others are compared with; it takes part in every rung, and its errors end the search.
        groups: config group -> choices.
        run: runs a trial, or reads its results if it is finished.
        budget: the clock.
        state: from an earlier call.
        save: called with the state after every run and decision.
        report: called with a line on every finished or refused trial.
        maximise: whether larger values of the metric are better.
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
        report: Callable[[str], object] = lambda line: None,
        maximise: bool = True,
    ) -> None:
        self.plan, self.reference, self.groups, self.maximise = plan, reference, groups, maximise
        self.budget, self.state = budget, state
        self._run, self._save_state, self._report = run, save, report

    def run_all(self) -> list[Standing]:
        """Runs all rungs in order; the results of rungs that an earlier call closed are only read.

        Raises:
            UserError: the reference cannot be run, or another run failed for a reason that is not in its settings.
        """
        standings: list[Standing] = []
        share = 0.0
        try:
            for rung in self.plan.rungs:
                share += rung.share
                end = share * self.budget.total
                start = end - rung.share * self.budget.total
                standings.append(
                    self._screen(rung, start, end) if rung.is_screening else self._train(rung, end, standings)
                )
                self._close(rung)
            if self.plan.rungs[0].is_screening and not any(later.values for later in standings[1:]):
                standings[0] = self._continued(self.plan.rungs[0])
        finally:
            self._save()
        return standings

    def _close(self, rung: Rung) -> None:
        if rung.name not in self.state.closed:
            self.state.closed.append(rung.name)

    def _save(self) -> None:
        self.state.spent = self.budget.spent
        self._save_state(self.state)

    # --- the first rung: every candidate ------------------------------------------------------------------------------

    def _continued(self, rung: Rung) -> Standing:
        """The first rung with what is left of the budget; a call that is started again finds the same limits."""
        if self.state.continued_at is None:
            self.state.continued_at = self.budget.spent
        self.state.closed.remove(rung.name)
        standing = self._screen(rung, self.state.continued_at, self.budget.total)
        self._close(rung)
        return standing

    def _screen(self, rung: Rung, start: float, end: float) -> Standing:
        standing = Standing(rung)
        first = start + (end - start) * _FIRST_SHARE
        self._attempt(standing, Trial(rung, self.reference, 0, None), math.inf)
        singles = single_changes(self.reference, self.groups)
        for candidate in singles:
            self._attempt(standing, Trial(rung, candidate, 0, None), first)
        base = standing.mean(self.reference) or 0.0
        sign = 1 if self.maximise else -1
        means = {one: standing.mean(one) for one in singles if one in standing.values}
        # What is undefined promises nothing, also where less is better.
        gains = {one: -math.inf if mean is None else sign * (mean - base) for one, mean in means.items()}
        for candidate in combinations(self.reference, gains):
            self._attempt(standing, Trial(rung, candidate, 0, None), first)
        for repetition in range(1, self.plan.repetitions):
            better = ranked(standing.values, self.maximise)[: math.ceil(len(standing.values) / 2)]
            repeated = dict.fromkeys([self.reference, *better])
            for candidate in repeated:
                if len(standing.values[candidate]) == repetition:
                    self._attempt(standing, Trial(rung, candidate, repetition, None), end)
            # `ranked` puts more repetitions first, which is fair only if everyone who earned this one had it.
            if any(len(standing.values.get(candidate, ())) == repetition for candidate in repeated):
                standing.compared, standing.is_cut_short = repetition, True
                break
        return self._closed(standing)

    # --- later rungs: the best of the one before ----------------------------------------------------------------------

    def _train(self, rung: Rung, end: float, before: Sequence[Standing]) -> Standing:
        standing = Standing(rung)
        if rung.name not in self.state.epochs and not self._decide(rung, end, before, standing):
            return standing
        standing.epochs = self.state.epochs[rung.name]
        candidates = {candidate.label: candidate for earlier in before for candidate in earlier.values}
        entrants = [candidates[label] for label in self.state.entrants[rung.name]]
        for repetition in range(self.plan.repetitions):
            for candidate in entrants:
                if len(standing.values.get(candidate, ())) == repetition:
                    limit = math.inf if candidate == self.reference and not repetition else end
                    self._attempt(standing, Trial(rung, candidate, repetition, standing.epochs), limit)
        # If time ran out before every candidate was repeated, only the repetitions that all have are compared.
        standing.compared = min((len(values) for values in standing.values.values()), default=None)
        standing.is_cut_short = standing.compared is not None and standing.compared < self.plan.repetitions
        return self._closed(standing)

    def _decide(self, rung: Rung, end: float, before: Sequence[Standing], standing: Standing) -> bool:
        """Decides on the candidates and epochs of a rung; False, with a note, if too little of the budget is left."""
        if rung.name in self.state.closed:
            standing.note = f"there was no time for it. {MORE_TIME}"
            return False
        last = next(earlier for earlier in reversed(before) if earlier.values)
        best = [candidate for candidate in last.order if candidate != self.reference][: rung.keep]
        if not best:
            standing.note = f"no candidate beside {self.reference.label} could be run."
            return False
        if self.budget.spent >= end:
            standing.note = f"its share of the budget was spent before. {MORE_TIME}"
            return False
        epoch, overhead = self._cost(rung, before)
        number, epochs = affordable(
            rung, len(best), self.plan.repetitions, _PLANNED_SHARE * (end - self.budget.spent), epoch, overhead
        )
        if not number or epochs <= (last.epochs or 0):
            min_epochs = max(rung.min_epochs or 1, (last.epochs or 0) + 1)
            need = 2 * self.plan.repetitions * (min_epochs * epoch + overhead) / _PLANNED_SHARE
            standing.note = (
                f"{min_epochs} epochs of two candidates would take about {need:.0f} s, and "
                f"{end - self.budget.spent:.0f} s were left. {MORE_TIME}"
            )
            return False
        self.state.epochs[rung.name] = epochs
        self.state.entrants[rung.name] = [candidate.label for candidate in (self.reference, *best[:number])]
        self._save()
        return True

    def _cost(self, rung: Rung, before: Sequence[Standing]) -> tuple[float, float]:
        """Seconds of an epoch, and of a run besides its epochs: the largest of earlier rungs, else measured once."""
        names = [earlier.rung.name for earlier in before if not earlier.rung.is_screening]
        outcomes = [outcome for key, outcome in self.state.outcomes.items() if key.split("/")[0] in names]
        if not outcomes:
            outcomes = [self._finished_or_run(Trial(rung, self.reference, 0, 1, timing=True))]
        overhead = max(max(outcome.seconds - outcome.training, 0.0) for outcome in outcomes)
        return max(max(outcome.training / outcome.epochs, 1e-3) for outcome in outcomes), overhead

    # --- one run ------------------------------------------------------------------------------------------------------

    def _attempt(self, standing: Standing, trial: Trial, end: float) -> None:
        """Adds the trial's value to the standing, or the reason why there is none."""
        key = f"{trial.rung.name}/{trial.candidate.label}"
        # What an earlier call has finished takes part again, so that every decision on it is the same: also of a
        # candidate that was refused when it was repeated, and in a closed rung if its folder is gone.
        was_finished = trial.key in self.state.outcomes
        if key in self.state.refused and not was_finished:
            self._refuse(standing, trial.candidate, self.state.refused[key])
            return
        if not was_finished and (
            trial.rung.name in self.state.closed or self.budget.spent + self._expected(trial) > end
        ):
            if trial.candidate not in standing.unfinished:
                standing.unfinished.append(trial.candidate)
            return
        try:
            outcome = self._finished_or_run(trial)
        except UserError as error:
            if trial.candidate == self.reference or not is_of_settings(error):
                raise
            self.state.refused[key] = error.message
            self._refuse(standing, trial.candidate, error.message)
            self._save()
            self._report(f"{trial.rung.name}: {trial.candidate.label} cannot be run: {error.message}")
            return
        standing.values.setdefault(trial.candidate, []).append(outcome.value)

    @staticmethod
    def _refuse(standing: Standing, candidate: Candidate, reason: str) -> None:
        standing.refused[candidate] = reason
        standing.values.pop(candidate, None)

    def _is_finished(self, trial: Trial) -> bool:
        """Whether an earlier call finished the trial, and its folder is still there."""
        outcome = self.state.outcomes.get(trial.key)
        return outcome is not None and Path(outcome.folder, METRICS).is_file()

    def _finished_or_run(self, trial: Trial) -> Outcome:
        if self._is_finished(trial):
            return self.state.outcomes[trial.key]
        outcome = self._run(trial)
        self.state.outcomes[trial.key] = outcome
        self._save()
        value = "undefined" if outcome.value is None else f"{outcome.value:.4f}"
        what = "part of an epoch, for its cost" if trial.timing else f"repetition {trial.repetition}: {value}"
        self._report(f"{trial.rung.name}: {trial.candidate.label}, {what} ({outcome.seconds:.1f} s)")
        return outcome

    def _expected(self, trial: Trial) -> float:
        """Seconds that the trial will probably take, from others of its rung; the first one computed the features."""
        prefix, outcomes = f"{trial.rung.name}/", self.state.outcomes
        keys = [key for key in outcomes if key.startswith(prefix) and not key.endswith("/timing")]
        seconds = [outcomes[key].seconds for key in keys]
        if trial.rung.is_screening:
            seconds = seconds[1:]
        return statistics.median(seconds) if seconds else 0.0

    def _closed(self, standing: Standing) -> Standing:
        compared = {candidate: standing.compared_values(candidate) for candidate in standing.values}
        standing.order = ranked(compared, self.maximise)
        standing.unfinished = [candidate for candidate in standing.unfinished if candidate not in standing.values]
        return standing
