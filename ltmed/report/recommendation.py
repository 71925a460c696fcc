"""The page that `ltmed recommend` ends in: the recommended command, its gain over the reference, what was tried."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from ltmed.report import protocol
from ltmed.report.formatting import duration, metric_name, p_value, percent, signed
from ltmed.report.model import BEST, MISSING, SECOND, Document, FormattedCell, Grid, Section
from ltmed.report.paired import Paired, PairedBootstrap
from ltmed.runs.reader import Run
from ltmed.studies.budget import Budget
from ltmed.studies.halving import Standing, State
from ltmed.studies.rungs import Candidate, mean_of

_SHOWN = 10
"""Candidates of a rung that the page names; the others are counted."""


class Recommendation:
    """What a search has found.

    Args:
        standings: of its rungs.
        reference: what others are compared with.
        runs: candidate -> its finished runs of the final standing.
        metric: that decided.
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

    def gain(self, candidate: Candidate) -> Paired | str:
        """The difference to the reference on the test images, over the repetitions that both have; or why none."""
        mine, theirs = self.runs[candidate], self.runs[self.reference]
        seeds = {run.seed for run in mine} & {run.seed for run in theirs}
        bootstrap = self._bootstrap
        if len(seeds) < len(theirs):
            bootstrap = PairedBootstrap([run for run in theirs if run.seed in seeds], self.metric)
        return bootstrap([run for run in mine if run.seed in seeds])

    def verdict(self) -> str:
        """One sentence: what is expected of the recommended command."""
        if self.chosen == self.reference:
            return (
                f"Nothing that was tried has a better {metric_name(self.metric)} on the validation images than the "
                f"reference ({self.reference.label}): stay with it."
            )
        found = self.gain(self.chosen)
        if isinstance(found, str):
            return f"The gain over the reference ({self.reference.label}) is unknown: {found}."
        figures = (
            f"{signed(found.difference)} points of {metric_name(self.metric)} over the reference "
            f"({self.reference.label}), 95 % interval {signed(found.low)} to {signed(found.high)}, {p_value(found.p)}, "
            f"on {found.images:,} test images ({found.units:,} {found.unit}s) that chose nothing"
        )
        if _is_gain(found, self.metric):
            return f"Expected gain: {figures}."
        return f"Not better than noise: {figures}. The reference may be as good; a larger budget or more data may tell."


def final_standing(standings: Sequence[Standing], metric: str) -> Standing:
    """The rung that is recommended from: of those that compared any, the one whose best has the best validation figure.

    A short fine-tuning may be worse than a probe. Figures are over the repetitions that the best of all rungs have; of
    equals the later rung is meant.
    """
    from ltmed.evaluation.scalars import better

    compared = [one for one in standings if len(one.order) > 1]
    if not compared:
        return next(one for one in reversed(standings) if one.order)
    sign = -1 if better(metric) == "min" else 1
    repetitions = min(len(one.values[one.order[0]]) for one in compared)

    def quality(place: int) -> tuple[float, int]:
        mean = mean_of(compared[place].values[compared[place].order[0]][:repetitions])
        return (-math.inf if mean is None else sign * mean), place

    return compared[max(range(len(compared)), key=quality)]


def _is_gain(found: Paired, metric: str) -> bool:
    from ltmed.evaluation.scalars import better

    return found.high < 0 if better(metric) == "min" else found.low > 0


def page(
    found: Recommendation, title: str, command: str, reference_command: str, state: State, budget: Budget
) -> Document:
    """The document for the renderers.

    Args:
        found: by the search.
        title: of the page.
        command: what is recommended.
        reference_command: what it is compared with.
        state: of the search, for its costs.
        budget: likewise.
    """
    sentences = [f"{found.chosen.label}: the best {metric_name(found.metric)} on validation images.", found.verdict()]
    sentences.extend(_worse_rungs(found))
    sections = [Section("Recommended", tuple(sentences), (command,))]
    if found.chosen != found.reference:
        sections.append(Section("Reference", (f"{found.reference.label}, trained alike.",), (reference_command,)))
    grids = [_finalists(found), *(_tried(one, found.metric) for one in reversed(found.standings) if one.values)]
    grids.append(_costs(found.standings, state))
    runs = [run for several in found.runs.values() for run in several]
    seconds = sum(one.seconds for one in state.outcomes.values())
    return Document(
        title,
        tuple(_warnings(found)),
        tuple(grid for grid in grids if grid.rows),
        ((runs[0].metrics["run"]["dataset"], protocol.facts(runs)),),
        (),
        (
            f"{len(state.outcomes)} runs took {duration(seconds)}; the search {duration(budget.spent)} of its "
            f"{duration(budget.total)}.",
            "Only validation images decided who went on and which command is recommended; all repetitions have the "
            "same test images, which none of them trained on or validated with.",
            f"Figures are percent of {metric_name(found.metric)}; validation figures of a winner are too good, since "
            "they made it the winner.",
            "Gains: paired bootstrap of whole groups of test images, repetitions averaged; only the recommended one "
            "was chosen beforehand.",
        ),
        tuple(sections),
    )


def _worse_rungs(found: Recommendation) -> Iterator[str]:
    """Later rungs that cost more and are not better."""
    mine = found.final.values[found.chosen]
    for one in found.standings[found.standings.index(found.final) + 1 :]:
        theirs = one.values[one.order[0]] if len(one.order) > 1 else []
        both = min(len(mine), len(theirs))
        there, here = mean_of(theirs[:both]), mean_of(mine[:both])
        if there is not None and here is not None:
            yield (
                f"Not recommended is {one.rung.title} ({one.epochs} epochs, for which the budget had room): its best, "
                f"{one.order[0].label}, has {percent(there)} on validation images, and the recommended one "
                f"{percent(here)} with {found.final.rung.title}. A larger --budget may change that."
            )


def _warnings(found: Recommendation) -> Iterator[str]:
    for one in found.standings:
        if one.note:
            yield f"{one.rung.title} was left out: {one.note}. A larger --budget has room for it."
        if one.unfinished:
            yield f"{one.rung.title}: no time for {_named(one.unfinished)}."
        if one.refused:
            reasons = dict.fromkeys(one.refused.values())
            yield f"{one.rung.title}: {_named(list(one.refused))} cannot be run ({'; '.join(reasons)})."
    if any(run.metrics["git"]["dirty"] for several in found.runs.values() for run in several):
        yield "Some runs were made with uncommitted changes to the code."


def _named(candidates: Sequence[Candidate]) -> str:
    shown = "; ".join(one.label for one in candidates[:_SHOWN])
    return shown + (f"; and {len(candidates) - _SHOWN} more" if len(candidates) > _SHOWN else "")


def _finalists(found: Recommendation) -> Grid:
    rows = []
    for place, candidate in enumerate(found.final.order[:_SHOWN]):
        runs = found.runs[candidate]
        tested = [value for run in runs if (value := run.metrics["test"]["scalars"][found.metric]) is not None]
        test = FormattedCell(percent(sum(tested) / len(tested))) if tested else FormattedCell("undefined", "", MISSING)
        rows.append(
            (
                candidate.label,
                (
                    _figure(found.final.mean(candidate), "" if place > 1 else (BEST, SECOND)[place]),
                    test,
                    FormattedCell("") if candidate == found.reference else _gain(found.gain(candidate)),
                    FormattedCell(str(len(runs))),
                ),
            )
        )
    headings = ("validation", "test", "gain on test images", "runs")
    epochs = f", {found.final.epochs} epochs" if found.final.epochs else ""
    return Grid(f"Finalists: {found.final.rung.title}{epochs}", headings, tuple(rows))


def _gain(found: Paired | str) -> FormattedCell:
    if isinstance(found, str):
        return FormattedCell(found, "", MISSING)
    return FormattedCell(signed(found.difference), f"[{signed(found.low)}, {signed(found.high)}]\n{p_value(found.p)}")


def _tried(standing: Standing, metric: str) -> Grid:
    rows = []
    for place, candidate in enumerate(standing.order):
        mark = "" if place > 1 else (BEST, SECOND)[place]
        values = ", ".join("undefined" if one is None else percent(one) for one in standing.values[candidate])
        rows.append((candidate.label, (_figure(standing.mean(candidate), mark), FormattedCell(values))))
    epochs = f", {standing.epochs} epochs" if standing.epochs else ""
    title = f"{standing.rung.title[0].upper()}{standing.rung.title[1:]}{epochs}: validation {metric_name(metric)}"
    return Grid(title, ("mean", "repetitions"), tuple(rows))


def _figure(value: float | None, mark: str) -> FormattedCell:
    return FormattedCell("undefined", "", MISSING) if value is None else FormattedCell(percent(value), "", mark)


def _costs(standings: Sequence[Standing], state: State) -> Grid:
    rows = []
    for one in standings:
        mine = [outcome for key, outcome in state.outcomes.items() if key.startswith(f"{one.rung.name}/")]
        if mine:
            texts = (
                str(len(one.values)), str(len(mine)), f"{one.epochs or mine[0].epochs:.3g}",
                duration(sum(outcome.seconds for outcome in mine)),
            )  # fmt: skip
            rows.append((one.rung.title, tuple(FormattedCell(text) for text in texts)))
    return Grid("What it cost", ("candidates", "runs", "epochs of a run", "time"), tuple(rows))
