"""`ltmed recommend`: which loss and sampler for these images, within a budget of time."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ltmed.config.overrides import PROGRAM, choice, last_of_each, quoted, setting, shell
from ltmed.errors import UserError

if TYPE_CHECKING:
    from ltmed.runs.job import Job
    from ltmed.runs.reader import Run
    from ltmed.studies.halving import Standing
    from ltmed.studies.rungs import Candidate, Rung
    from ltmed.studies.trials import Outcome, State, Trial

BACKBONE = "efficientnet_lite0"
"""The network with pretrained weights that needs no hub."""
_SET_BY_SEARCH = ("method", "epochs", "seed", "run_dir", "split.val_seed", "figures", "trainer.enable_progress_bar")
"""Settings of the search itself, beside the groups that it varies."""
_TIMED_BATCHES = 8
"""Number of batches that the cost of an epoch is measured with."""
_STATE, _LOG, _PAGE = "state.json", "log.txt", "recommendation"


@click.command(short_help="Says which loss and sampler to use on your images, and what to expect.")
@click.argument("overrides", nargs=-1, required=True)
@click.option("--budget", default="2h", show_default=True, metavar="TIME", help="Wall time in all: 90min, 2h, 1h30m.")
@click.option("--backbone", metavar="NAME", help=f"A network with pretrained weights; default {BACKBONE}.")
def command(overrides: tuple[str, ...], budget: str, backbone: str | None) -> None:
    """Tries losses and samplers on your images, and recommends a command.

    OVERRIDES hold for every run: dataset=manifest dataset.root=DIR image_size=128 trainer=cpu. First every loss and
    sampler, then combinations as time allows, as linear probes on cached features of the frozen network; then the best
    few are fine-tuned for a short time, and the best two of these for a long one, beside the plain loss and sampler.
    Validation images alone decide (monitor=NAME). The same command continues what was stopped. It ends in a page: what
    was tried, what it cost, the recommended command, and its gain on test images with an interval.
    """
    from ltmed.config import search_path
    from ltmed.config.targets import trusted
    from ltmed.studies import budget as budgets

    search_path.register()
    total = budgets.seconds(budget)
    with trusted():  # The user wrote this command, so it may build any class.
        _Recommend(overrides, total, backbone).run()


class _Recommend:
    """One search.

    Args:
        overrides: of the command line.
        total: seconds.
        backbone: a choice, or None.

    Raises:
        UserError: an override that the search sets itself, a network without pretrained weights, data that cannot be
            read or have several labels an image. `run` raises it for results on other data in the same folders.
    """

    def __init__(self, overrides: Sequence[str], total: float, backbone: str | None) -> None:
        from ltmed.studies import rungs

        self.plan, self.total = rungs.read(), total
        _require_free(overrides, self.plan.vary)
        backbone = backbone or choice(overrides, "backbone") or BACKBONE
        others = [override for override in overrides if setting(override) != "backbone"]
        self.shared = last_of_each([*others, f"backbone={backbone}"])
        first = self._job(self.plan.rungs[0].overrides)
        _require_weights(first, backbone)
        self.monitor = str(first.cfg.monitor)
        self.reference = rungs.Candidate(tuple((group, str(first.facts["choices"][group])) for group in self.plan.vary))
        self.root = first.cfg.dataset.root
        self.repetitions, self.splits = self._repetitions(first)
        self.computed: dict[str, str] = {}
        """Fingerprint of a run -> label of its candidate."""
        self.dataset = first.name.dataset
        self.folder = Path(str(first.cfg.runs), "recommend", f"{self.dataset}-{self._identity(first)}")

    def run(self) -> None:
        """Searches, and writes the page."""
        from filelock import Timeout

        from ltmed.utils.files import locked

        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with locked(self.folder / ".lock", wait=False):
                self._search()
        except Timeout:
            raise UserError(f"{self.folder} is in use by another ltmed recommend", "Wait for it, or end it.") from None
        except KeyboardInterrupt:
            click.echo("\nInterrupted. The same command goes on.", err=True)
            raise SystemExit(130) from None

    def _search(self) -> None:
        from ltmed.config.paths import choices
        from ltmed.evaluation.scalars import better
        from ltmed.studies.budget import Budget
        from ltmed.studies.halving import Search
        from ltmed.studies.trials import State
        from ltmed.utils.files import write_atomic

        file = self.folder / _STATE
        state = State.from_json(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else State()
        state.require_splits(self.splits, self.root)
        self.computed = {outcome.fingerprint: key.split("/")[1] for key, outcome in state.outcomes.items()}
        budget = Budget(self.total, state.spent)
        click.echo(f"reference {self.reference.label}; what runs print is in {self.folder / _LOG}")
        search = Search(
            self.plan, self.reference, {group: list(choices(group)) for group in self.plan.vary},
            run=self._trial, budget=budget, state=state,
            save=lambda current: write_atomic(file, json.dumps(current.to_json(), indent=1)),
            report=lambda line: click.echo(f"[{budget.spent / self.total:4.0%}] {line}"),
            maximise=better(self.monitor) == "max",
        )  # fmt: skip
        standings = search.run_all()
        self._write(standings, state, budget)

    # --- runs ---------------------------------------------------------------------------------------------------------

    def _job(self, overrides: Sequence[str], *last: str) -> Job:
        from ltmed.config.data_root import require_root
        from ltmed.config.effect import with_effect
        from ltmed.runs.job import job_of

        shared = [*self.shared, "figures=false", "trainer.enable_progress_bar=false"]
        job = job_of(with_effect(last_of_each([*overrides, *shared, *last])))
        require_root(job.cfg.dataset)
        return job

    def _overrides(self, rung: Rung, candidate: Candidate, epochs: int | None) -> list[str]:
        return [*rung.overrides, *candidate.overrides, *([] if epochs is None else [f"epochs={epochs}"])]

    def _trial(self, trial: Trial) -> Outcome:
        from ltmed.runs.reader import read_run
        from ltmed.studies.trials import Outcome, recorded_split, require_split
        from ltmed.train import train

        started = time.monotonic()
        overrides = [*self._overrides(trial.rung, trial.candidate, trial.epochs), *self.repetitions[trial.repetition]]
        part, job = self._timing(overrides) if trial.timing else (1.0, self._job(overrides))
        fingerprint = str(job.facts["fingerprint"])
        if not trial.timing:
            label = self.computed.setdefault(fingerprint, trial.candidate.label)
            if label != trial.candidate.label:
                raise UserError(f"it computes the same as {label}")
        split = self.splits[trial.repetition]
        require_split(job.run_dir, recorded_split(job.run_dir), split, self.root)
        with self._quiet():
            train(job)
        run = read_run(job.run_dir)
        assert run is not None
        require_split(job.run_dir, recorded_split(job.run_dir), split, self.root)  # The data may change meanwhile.
        epoch_seconds = [seconds for stage in run.facts["stages"].values() for seconds in stage["epochs"]]
        # Only the first steps are slow: a timing leaves the first epoch out.
        counted = epoch_seconds[1:] if trial.timing else epoch_seconds
        wall = max(time.monotonic() - started - (sum(epoch_seconds) - sum(counted)), 0.0)
        value = run.metrics["val"]["scalars"][self.monitor]
        return Outcome(str(job.run_dir), value, wall, sum(counted), part * len(counted), fingerprint, split)

    def _timing(self, overrides: Sequence[str]) -> tuple[float, Job]:
        """The part of an epoch that its cost is measured with, and the run of two such parts.

        Hidden from reports, and in the folder of the search: one that another search finished would take no time.
        """
        sizes = [stage.batch_size for stage in self._job(overrides).cfg.method.stages.values() if stage.batch_size]
        steps = max(1, self.images // max(sizes, default=1))
        batches = min(steps, _TIMED_BATCHES)
        short = [*overrides, "epochs=2", f"+trainer.limit_train_batches={batches}"]
        return batches / steps, self._job(short, f"runs={quoted(str(self.folder / '.timing'))}")

    @contextlib.contextmanager
    def _quiet(self) -> Iterator[None]:
        """What a run prints goes into a file: there are a hundred of them."""
        with (
            (self.folder / _LOG).open("a", encoding="utf-8") as log,
            contextlib.redirect_stdout(log),
            contextlib.redirect_stderr(log),
        ):
            yield

    def _repetitions(self, first: Job) -> tuple[list[list[str]], list[str]]:
        """Overrides of each repetition (another seed and, where the split draws them, other validation images), and
        the hash of its split.

        The data are read for it, so that the plan can follow their number.
        """
        from ltmed.config.instantiate import build
        from ltmed.runs.dataset import open_dataset

        data = open_dataset(first.cfg, first.run_dir)
        if data.manifest.labels.ndim > 1:
            raise UserError(
                f"{data.manifest.name} has several labels an image, which ltmed recommend cannot compare yet",
                "Train single runs, and compare them with ltmed report.",
            )
        counts = data.counts
        click.echo(
            f"images    {len(data.split.train):,} to train on, {len(data.split.val):,} to choose with, "
            f"{len(data.split.test):,} to test; {len(counts)} classes of {counts.min():,} to {counts.max():,}"
        )
        self.images = len(data.split.train)
        self.plan = self.plan.fitting(self.images)
        repetitions: list[list[str]] = [[]]
        splits = [data.listed_digest]
        for number in range(1, self.plan.repetitions):
            overrides = [f"seed={number}"]
            if "val_seed" in first.cfg.split:
                overrides.append(f"split.val_seed={int(first.cfg.split.seed) + number}")
            repetitions.append(overrides)
            cfg = self._job([*self.plan.rungs[0].overrides, *overrides]).cfg
            splits.append(build(cfg.split)(data.manifest, cfg.fold).digest(data.manifest))
        return repetitions, splits

    def _identity(self, first: Job) -> str:
        """A digest that is equal for the same search on the same images and weights, also in other folders."""
        from ltmed.runs.directory import without_location

        parts = [
            *sorted(without_location(self.shared)), str(first.facts["fingerprint"]), *self.splits, str(self.plan),
            str(self.total), *_content(first.cfg.backbone.get("weights")),
        ]  # fmt: skip
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]

    # --- the page -----------------------------------------------------------------------------------------------------

    def _write(self, standings: Sequence[Standing], state: State, budget: Any) -> None:
        from ltmed.report.recommendation import Recommendation, final_standing, page
        from ltmed.report.renderers import html, markdown
        from ltmed.utils.files import write_atomic

        final = final_standing(standings, self.monitor)
        runs = {candidate: self._runs(final, candidate, state) for candidate in final.order}
        recommendation = Recommendation(standings, self.reference, runs, self.monitor)
        command, plain = (self._command(final, candidate) for candidate in (recommendation.chosen, self.reference))
        title = f"Recommended for {self.dataset}: {recommendation.chosen.label}"
        document = page(recommendation, title, command, plain, state, budget)
        for suffix, text in ((".md", markdown.render(document)), (".html", html.render(document))):
            write_atomic((self.folder / _PAGE).with_suffix(suffix), text)
        click.echo(
            f"\n{title}\n{recommendation.verdict()}\n\n    {command}\n\nWritten: {self.folder / _PAGE}.html, .md"
        )

    def _runs(self, final: Standing, candidate: Candidate, state: State) -> list[Run]:
        from ltmed.runs.reader import read_run
        from ltmed.studies.trials import Trial

        runs = []
        for repetition in range(len(final.values[candidate])):
            outcome = state.outcomes[Trial(final.rung, candidate, repetition, final.epochs).key]
            run = read_run(Path(outcome.folder))
            assert run is not None
            runs.append(run)
        return runs

    def _command(self, final: Standing, candidate: Candidate) -> str:
        from ltmed.config.effect import with_effect

        overrides = last_of_each([*self._overrides(final.rung, candidate, final.epochs), *self.shared])
        return shell([*PROGRAM, *with_effect(overrides)])


def _content(weights: Any) -> list[str]:
    """A digest of the file of weights, which may change under the same name; nothing where there is no file."""
    from ltmed.runs.initial_weights import content_of

    file = Path(weights).expanduser() if isinstance(weights, str) else None
    return [] if file is None or not file.is_file() else [content_of(file)]


def _require_free(overrides: Sequence[str], varied: Sequence[str]) -> None:
    for override in overrides:
        if "=" not in override:
            raise UserError(f"'{override}' is not a setting", "For instance dataset=manifest dataset.root=DIR.")
        key = setting(override).lstrip("+~")
        reserved = (*_SET_BY_SEARCH, *varied)
        taken = next((name for name in reserved if key == name or key.startswith(f"{name}.")), None)
        if taken is not None:
            raise UserError(f"{override}: ltmed recommend chooses {taken} itself", "Leave it out.")


def _require_weights(job: Job, backbone: str) -> None:
    """Refuses random weights: a linear probe on their features says nothing about the images."""
    configured = job.cfg.backbone
    if not (configured.get("pretrained") or configured.get("weights")):
        raise UserError(
            f"backbone={backbone} has random weights, whose probes say nothing",
            f"Use --backbone {BACKBONE} (pip install 'ltmed[pretrained]'), backbone.pretrained=true or "
            "backbone.weights=FILE.",
        )
