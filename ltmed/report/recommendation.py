"""The page that `ltmed recommend` ends in: the recommended command, its gain over the reference, what was tried."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from ltmed.report import protocol
from ltmed.report.formatting import duration, metric_name, p_value, percent, signed
from ltmed.report.model import BEST, MISSING, SECOND, Document, FormattedCell, Grid, Section
from ltmed.report.paired import PairedBootstrap, PairedDifference
from ltmed.runs.reader import Run
from ltmed.studies.budget import Budget
from ltmed.studies.halving import Standing
from ltmed.studies.rungs import Candidate, mean_of
from ltmed.studies.trials import State

_MAX_LISTED = 10
"""At most so many candidates of a rung are listed; the others are counted."""


class Recommendation:
    """The recommendation of a finished search.

    Args:
        standings: of its rungs.
        reference: what others are compared with.
        runs: candidate -> its finished runs of the final standing.
        metric: the metric that decided.
    """

    def __init__(
        self,
        standings: Sequence[Standing],
        reference: Candidate,
        runs: Mapping[Candidate, Sequence[Run]],
        metric: str,
    ) -> None:
        self.standings, self.reference, self.runs, self.metric = standings, reference, runs, metric
        self.final = final_standing(standings, metric)
        self.chosen = self.final.order[0]
        self._bootstrap = PairedBootstrap(runs[reference], metric)

    def gain(self, candidate: Candidate) -> PairedDifference | str:
        """The difference to the reference on the test images, over the repetitions that both have; or why none."""
        runs, reference_runs = self.runs[candidate], self.runs[self.reference]
        seeds = {run.seed for run in runs} & {run.seed for run in reference_runs}
        bootstrap = self._bootstrap
        if len(seeds) < len(reference_runs):
            bootstrap = PairedBootstrap([run for run in reference_runs if run.seed in seeds], self.metric)
        return bootstrap([run for run in runs if run.seed in seeds])

    def verdict(self) -> str:
        """One sentence on the expected gain of the recommended command."""
        if self.chosen == self.reference:
            nothing = "No candidate with as many repetitions" if self._has_better() else "Nothing that was tried"
            return (
                f"{nothing} has a better {metric_name(self.metric)} on the validation images than the reference "
                f"({self.reference.label}): stay with it."
            )
        gain = self.gain(self.chosen)
        if isinstance(gain, str):
            return f"The gain over the reference ({self.reference.label}) is unknown: {gain}."
        figures = (
            f"{signed(gain.difference)} points of {metric_name(self.metric)} over the reference "
            f"({self.reference.label}), 95 % interval {signed(gain.low)} to {signed(gain.high)}, {p_value(gain.p)}, "
            f"on {gain.images:,} test images ({gain.units:,} {gain.unit}s) that chose nothing"
        )
        if _is_gain(gain, self.metric):
            return f"Expected gain: {figures}."
        return f"Not better than noise: {figures}. The reference may be as good; a larger budget or more data may tell."

    def _has_better(self) -> bool:
        """Whether a candidate of any rung, perhaps with fewer repetitions, has a better mean than the chosen one."""
        best = _quality(self.final.compared_values(self.chosen), self.metric)
        return any(
            _quality(standing.compared_values(candidate), self.metric) > best
            for standing in self.standings
            for candidate in standing.order
        )


def final_standing(standings: Sequence[Standing], metric: str) -> Standing:
    """The rung that is recommended from: of those that compared any, the one whose best has the best validation figure.

    A short fine-tuning may be worse than a probe. Figures are over the repetitions that the best of all rungs have; of
    equals the later rung is meant.
    """
    compared = [standing for standing in standings if len(standing.order) > 1]
    if not compared:
        return next(standing for standing in reversed(standings) if standing.order)
    best = [standing.compared_values(standing.order[0]) for standing in compared]
    repetitions = min(len(values) for values in best)
    qualities = [(_quality(values[:repetitions], metric), index) for index, values in enumerate(best)]
    return compared[max(qualities)[1]]


def _quality(values: Sequence[float | None], metric: str) -> float:
    """Their mean, with the sign by which more is better; -inf if it is undefined."""
    from ltmed.evaluation.scalars import better

    mean = mean_of(values)
    return -math.inf if mean is None else -mean if better(metric) == "min" else mean


def _is_gain(difference: PairedDifference, metric: str) -> bool:
    from ltmed.evaluation.scalars import better

    return difference.high < 0 if better(metric) == "min" else difference.low > 0


def page(
    recommendation: Recommendation, title: str, command: str, reference_command: str, state: State, budget: Budget
) -> Document:
    """The document for the renderers.

    Args:
        recommendation: by the search.
        title: of the page.
        command: the recommended command.
        reference_command: the command that it is compared with.
        state: of the search, for its costs.
        budget: likewise.
    """
    sentences = [
        f"{recommendation.chosen.label}: the best {metric_name(recommendation.metric)} on validation images.",
        recommendation.verdict(),
    ]
    sentences.extend(_worse_rungs(recommendation))
    sections = [Section("Recommended", tuple(sentences), (command,))]
    if recommendation.chosen != recommendation.reference:
        sections.append(
            Section("Reference", (f"{recommendation.reference.label}, trained alike.",), (reference_command,))
        )
    grids = [
        _finalists(recommendation),
        *(
            _tried(standing, recommendation.metric)
            for standing in reversed(recommendation.standings)
            if standing.values
        ),
    ]
    grids.append(_costs(recommendation.standings, state))
    runs = [run for runs_of_candidate in recommendation.runs.values() for run in runs_of_candidate]
    seconds = sum(outcome.seconds for outcome in state.outcomes.values())
    return Document(
        title,
        tuple(_warnings(recommendation)),
        tuple(grid for grid in grids if grid.rows),
        ((runs[0].metrics["run"]["dataset"], protocol.facts(runs)),),
        (),
        (
            f"{len(state.outcomes)} runs took {duration(seconds)}; the search {duration(budget.spent)} of its "
            f"{duration(budget.total)}.",
            "Only validation images decided who went on and which command is recommended; all repetitions have the "
            "same test images, which none of them trained on or validated with.",
            f"Figures are percent of {metric_name(recommendation.metric)}; validation figures of a winner are too "
            "good, since they made it the winner.",
            "Gains: paired bootstrap of whole groups of test images, repetitions averaged; only the recommended one "
            "was chosen beforehand.",
        ),
        tuple(sections),
    )


def _worse_rungs(recommendation: Recommendation) -> Iterator[str]:
    """Later rungs that cost more and are not better."""
    final_values = recommendation.final.compared_values(recommendation.chosen)
    for standing in recommendation.standings[recommendation.standings.index(recommendation.final) + 1 :]:
        values = standing.compared_values(standing.order[0]) if len(standing.order) > 1 else []
        repetitions = min(len(final_values), len(values))
        mean, final_mean = mean_of(values[:repetitions]), mean_of(final_values[:repetitions])
        if mean is not None and final_mean is not None:
            yield (
                f"Not recommended is {standing.rung.title} ({standing.epochs} epochs, for which the budget had room): "
                f"its best, {standing.order[0].label}, has {percent(mean)} on validation images, and the recommended "
                f"one {percent(final_mean)} with {recommendation.final.rung.title}. A larger --budget may change that."
            )


def _warnings(recommendation: Recommendation) -> Iterator[str]:
    for standing in recommendation.standings:
        if standing.note:
            yield f"{standing.rung.title} was left out: {standing.note}"
        if standing.is_cut_short:
            number = "the first one" if standing.compared == 1 else f"the first {standing.compared}"
            yield (
                f"{standing.rung.title}: the budget ended before all repetitions were trained, so candidates are "
                f"compared on {number} alone. A larger --budget has room for them."
            )
        if standing.unfinished:
            yield f"{standing.rung.title}: no time for {_listed(standing.unfinished)}."
        if standing.refused:
            reasons = dict.fromkeys(standing.refused.values())
            yield f"{standing.rung.title}: {_listed(list(standing.refused))} cannot be run ({'; '.join(reasons)})."
    if any(run.metrics["git"]["dirty"] for runs in recommendation.runs.values() for run in runs):
        yield "Some runs were made with uncommitted changes to the code."


def _listed(candidates: Sequence[Candidate]) -> str:
    labels = "; ".join(candidate.label for candidate in candidates[:_MAX_LISTED])
    return labels + (f"; and {len(candidates) - _MAX_LISTED} more" if len(candidates) > _MAX_LISTED else "")


def _finalists(recommendation: Recommendation) -> Grid:
    rows = []
    for rank, candidate in enumerate(recommendation.final.order[:_MAX_LISTED]):
        runs = recommendation.runs[candidate]
        tested = [value for run in runs if (value := run.metrics["test"]["scalars"][recommendation.metric]) is not None]
        test = FormattedCell(percent(sum(tested) / len(tested))) if tested else FormattedCell("undefined", "", MISSING)
        rows.append(
            (
                candidate.label,
                (
                    _figure(recommendation.final.mean(candidate), "" if rank > 1 else (BEST, SECOND)[rank]),
                    test,
                    FormattedCell("")
                    if candidate == recommendation.reference
                    else _gain(recommendation.gain(candidate)),
                    FormattedCell(str(len(runs))),
                ),
            )
        )
    headings = ("validation", "test", "gain on test images", "runs")
    epochs = f", {recommendation.final.epochs} epochs" if recommendation.final.epochs else ""
    return Grid(f"Finalists: {recommendation.final.rung.title}{epochs}", headings, tuple(rows))


def _gain(difference: PairedDifference | str) -> FormattedCell:
    if isinstance(difference, str):
        return FormattedCell(difference, "", MISSING)
    return FormattedCell(
        signed(difference.difference), f"[{signed(difference.low)}, {signed(difference.high)}]\n{p_value(difference.p)}"
    )


def _tried(standing: Standing, metric: str) -> Grid:
    rows = []
    for rank, candidate in enumerate(standing.order):
        mark = "" if rank > 1 else (BEST, SECOND)[rank]
        values = ", ".join("undefined" if value is None else percent(value) for value in standing.values[candidate])
        rows.append((candidate.label, (_figure(standing.mean(candidate), mark), FormattedCell(values))))
    epochs = f", {standing.epochs} epochs" if standing.epochs else ""
    title = f"{standing.rung.title[0].upper()}{standing.rung.title[1:]}{epochs}: validation {metric_name(metric)}"
    return Grid(title, ("mean", "repetitions"), tuple(rows))


def _figure(value: float | None, mark: str) -> FormattedCell:
    return FormattedCell("undefined", "", MISSING) if value is None else FormattedCell(percent(value), "", mark)


def _costs(standings: Sequence[Standing], state: State) -> Grid:
    rows = []
    for standing in standings:
        outcomes = [outcome for key, outcome in state.outcomes.items() if key.startswith(f"{standing.rung.name}/")]
        if outcomes:
            texts = (
                str(len(standing.values)), str(len(outcomes)), f"{standing.epochs or outcomes[0].epochs:.3g}",
                duration(sum(outcome.seconds for outcome in outcomes)),
            )  # fmt: skip
            rows.append((standing.rung.title, tuple(FormattedCell(text) for text in texts)))
    return Grid("What it cost", ("candidates", "runs", "epochs of a run", "time"), tuple(rows))
