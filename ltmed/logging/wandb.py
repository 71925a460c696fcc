"""One Weights & Biases run for a run of ltmed, whatever its number of stages, restarts and processes."""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.fabric.utilities.rank_zero import rank_zero_only
from omegaconf import OmegaConf

from ltmed.errors import UserError
from ltmed.evaluation.scalars import PER_CLASS, PER_LABEL
from ltmed.logging.csv import CSVLogger
from ltmed.logging.wandb_artifacts import made, require_kinds
from ltmed.logging.wandb_media import images, tags
from ltmed.runs.directory import identity
from ltmed.runs.job import RunName

if TYPE_CHECKING:
    import wandb

STEP = "trainer/global_step"
MOST_PLOTTED = 100
"""Classes of a confusion matrix that W&B can still plot (its charts read at most 10,000 rows)."""

_QUIET_SECONDS, _START_SECONDS, _UPLOAD_SECONDS = 3, 20, 300
_LOGIN = "Run `wandb login`, or keep the run on this machine with logger.offline=true."
_ANEW = "Add logger.attempt=1, or a larger number, to every command of this run: it starts a new one there."


class WandbLogger(CSVLogger):
    """metrics.csv, and the same numbers in one Weights & Biases run, whatever the number of stages and restarts.

    The run's id is made from the path of the run directory and from the configuration, so a resumed run continues there
    (online), or adds one more `offline-run-*` folder with the same id. An offline run that was killed has lost what was
    not yet written, so the new folder holds all that metrics.csv has, and is enough for `wandb sync`. Steps start at 0
    in every stage, which does no harm: metric names carry their stage and are plotted over `trainer/global_step`,
    not over W&B's own ever-growing step. Runs are grouped by data set and method. Only the first rank talks to
    W&B, and not through Lightning's logger, which would ask for a login in a prompt.

    Args:
        run_dir: the run's folder.
        name: what the run is called.
        config: the run's resolved configuration; shown with the run, and besides it `row`, its method and settings.
        project: W&B project.
        entity: W&B user or team; None is the account's default.
        offline: True writes to `<run_dir>/wandb` only and needs neither account nor network. So does the environment
            variable WANDB_MODE=offline.
        attempt: another number gives another id: a new run, for instance where the old one was deleted online.
        artifacts: what is uploaded with the results, names of `ltmed.logging.wandb_artifacts.KINDS`.

    Raises:
        UserError: an unknown artifact; W&B is to be used online, but nobody is logged in or it cannot be reached.
    """

    def __init__(
        self,
        run_dir: Path,
        name: RunName,
        config: Mapping[str, Any],
        *,
        project: str,
        entity: str | None,
        offline: bool,
        attempt: int = 0,
        artifacts: Sequence[str] = (),
    ) -> None:
        super().__init__(run_dir, name, config)
        require_kinds(artifacts)
        self._artifacts, self._config = tuple(artifacts), config
        self._wandb = _start(
            offline,
            id=run_id(run_dir, config, attempt),
            resume="allow",
            dir=run_dir,
            project=project,
            entity=entity,
            name=f"{name.group}-{name.version}",
            group=name.group,
            job_type=name.method,
            tags=tags(name),
            config={**config, "row": name.row},
        )

    @classmethod
    def require_usable(cls, *, offline: bool, artifacts: Sequence[str] = (), **settings: Any) -> None:
        """Finds out, before the run has a folder, whether somebody is logged in and W&B can be reached.

        Raises:
            UserError: not so; an unknown artifact.
        """
        import wandb

        require_kinds(artifacts)
        with _explained(), _patience("connecting"):
            online = not offline and wandb.setup().settings.mode in ("online", "run", "shared")
            if online and not wandb.login(prompt=False, verify=True):
                raise UserError("logger=wandb needs a Weights & Biases account, and nobody is logged in", _LOGIN)

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The W&B run, for whatever else a method wants to show; on other ranks it accepts every call."""
        return self._wandb

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Takes numbers by name, for both places."""
        super().log_metrics(metrics, step)
        self.experiment.log({**metrics, STEP: step})

    @rank_zero_only
    def rewind(self, stage: str, epoch: int) -> None:
        """As for metrics.csv; what that one keeps goes into an offline run again, which begins empty."""
        super().rewind(stage, epoch)
        if self.experiment.offline:
            for metrics, step in self.kept(stage):
                self.experiment.log({**metrics, STEP: step})

    @rank_zero_only
    def log_final(self, found: dict[str, Any]) -> None:
        """Adds the test numbers with intervals, tables, figures and artifacts of the run, and ends the W&B run."""
        super().log_final(found)
        test, intervals = found["test"], found["test"]["intervals"]["scalars"]
        run = self.experiment
        views = {"test/per_class": _class_table(found)}
        if "confusion" in test:
            views["test/confusion_matrix"] = _confusion(test)
        run.log({**views, **images(self.file.parent / "figures")})
        for name, value in test["scalars"].items():
            low, high = intervals[name]
            run.summary.update({f"test/{name}": value, f"test/{name}_low": low, f"test/{name}_high": high})
        # Of the chosen epoch; what a sweep is to be steered by, since W&B itself keeps the last epoch's value.
        run.summary.update({f"val/{name}": value for name, value in found["val"]["scalars"].items()})
        split = found["split"]
        leakage = split["leakage"] or {"fraction": None}
        run.summary.update({"split": split["name"], "split_hash": split["hash"], "leakage": leakage["fraction"]})
        for artifact in made(self.file.parent, self._config, found, self._artifacts, run.id):
            run.log_artifact(artifact)
        with _patience(f"uploading, at most {_UPLOAD_SECONDS // 60} minutes (the rest stays in {run.dir})"):
            run.finish()


def run_id(run_dir: Path, config: Mapping[str, Any], attempt: int = 0) -> str:
    """W&B id of a run: the same at every start, another for every folder, configuration and attempt."""
    about = [str(run_dir.resolve()), identity(OmegaConf.create(dict(config))), attempt]
    return hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()[:16]


@contextmanager
def _patience(what: str) -> Iterator[None]:
    """Says what is being waited for if the body takes longer than a few seconds."""
    timer = threading.Timer(_QUIET_SECONDS, print, [f"Weights & Biases: {what} ..."], {"file": sys.stderr})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def _explained() -> Iterator[None]:
    """Turns the errors of W&B's library into one line."""
    from wandb.errors import Error

    try:
        yield
    except Error as error:
        reason = " ".join(str(error).split())
        hint = _ANEW if "deleted" in reason else _LOGIN
        raise UserError(f"Weights & Biases could not start: {reason}", hint) from error
    except ValueError as error:  # A setting that W&B's library does not accept.
        reason = "; ".join(_settings_errors(error))
        raise UserError(f"Weights & Biases could not start: {reason}", "Correct the variables WANDB_... .") from error


@rank_zero_only
def _start(offline: bool, **arguments: Any) -> wandb.Run:
    """Opens the W&B run at once, so that a missing login ends the command now and with a line on what to do."""
    import wandb

    if wandb.run is not None:
        wandb.finish(exit_code=1)  # Left by a job of the same sweep that failed; its run is not ours.
    with _explained(), _patience("starting"):
        settings = wandb.Settings(init_timeout=_START_SECONDS, finish_timeout=_UPLOAD_SECONDS)
        run = wandb.init(mode="offline" if offline else None, settings=settings, **arguments)
    run.define_metric(STEP, hidden=True)
    run.define_metric("*", step_metric=STEP)
    return run


def _settings_errors(error: ValueError) -> list[str]:
    """Each wrong setting with its reason, of an error of pydantic's; of another its first line."""
    details: Any = getattr(error, "errors", list)()
    found = [f"{'.'.join(map(str, one['loc']))}={one['input']}: {one['msg']}" for one in details]
    return found or [(str(error).splitlines() or [type(error).__name__])[0]]


def _class_table(found: dict[str, Any]) -> wandb.Table:
    import wandb

    intervals = found["test"]["intervals"]["per_class"]
    several = "thresholds" in found["test"]
    numbers = (*PER_LABEL, "threshold") if several else PER_CLASS
    keys, main = ("class", "name", "tier", "support", *numbers), "ap" if several else "recall"
    rows: list[Any] = [
        [*(row[key] for key in keys), *intervals[row["class"]][main]] for row in found["test"]["per_class"]
    ]
    return wandb.Table(columns=[*keys, f"{main}_low", f"{main}_high"], data=rows)


def _confusion(test: dict[str, Any]) -> Any:
    """A W&B chart of the confusion matrix, or a table of its non-zero cells if there are too many to draw."""
    import wandb

    classes = [row["class"] for row in test["per_class"]]
    columns: list[Any] = ["Actual", "Predicted", "nPredictions"]
    plotted = len(classes) <= MOST_PLOTTED
    cells: list[Any] = [
        [true, predicted, count]
        for true, row in zip(classes, test["confusion"], strict=True)
        for predicted, count in zip(classes, row, strict=True)
        if count or plotted
    ]
    table = wandb.Table(columns=columns, data=cells)
    if not plotted:
        return table
    return wandb.plot_table("wandb/confusion_matrix/v1", table, {column: column for column in columns}, {"title": ""})
