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
from ltmed.logging.wandb_artifacts import artifacts_of, require_kinds
from ltmed.logging.wandb_media import images, tags
from ltmed.runs.directory import identity
from ltmed.runs.job import RunName

if TYPE_CHECKING:
    import wandb

STEP = "trainer/global_step"
MAX_PLOTTED_CLASSES = 100
"""W&B plots a confusion matrix of at most so many classes (its charts read at most 10,000 rows)."""

_QUIET_SECONDS, _START_SECONDS, _UPLOAD_SECONDS = 3, 20, 300
_LOGIN = "Run `wandb login`, or keep the run on this machine with logger.offline=true."
_NEW_ATTEMPT = "Add logger.attempt=1, or a larger number, to every command of this run: it starts a new one there."


class WandbLogger(CSVLogger):
    """metrics.csv, and the same numbers in one Weights & Biases run, whatever the number of stages and restarts.

    The run's id is derived from the path of the run directory and the configuration, so a resumed run continues there
    (online), or adds one more `offline-run-*` folder with the same id. An offline run that was killed has lost what was
    not yet written, so the new folder holds all that metrics.csv has, and is enough for `wandb sync`. Steps start at 0
    in every stage, which is harmless: metric names carry their stage and are plotted over `trainer/global_step`,
    not over W&B's own ever-growing step. Runs are grouped by data set and method. Only the first rank connects to
    W&B, and not through Lightning's logger, which would ask for a login in a prompt.

    Args:
        run_dir: the run's folder.
        name: the run's name.
        config: the run's resolved configuration; shown with the run, and besides it `row`, its method and settings.
        project: W&B project.
        entity: W&B user or team; None is the account's default.
        offline: True writes to `<run_dir>/wandb` only and needs neither account nor network. So does the environment
            variable WANDB_MODE=offline.
        attempt: another number gives another id: a new run, for instance where the old one was deleted online.
        artifacts: what is uploaded with the results, names of `ltmed.logging.wandb_artifacts.KINDS`.

    Raises:
        UserError: an unknown artifact; W&B is to be used online, but no account is logged in or it cannot be reached.
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
        """Checks, before the run has a folder, that an account is logged in and W&B can be reached.

        Raises:
            UserError: otherwise; or an unknown artifact.
        """
        import wandb

        require_kinds(artifacts)
        with _as_user_error(), _announced_wait("connecting"):
            online = not offline and wandb.setup().settings.mode in ("online", "run", "shared")
            if online and not wandb.login(prompt=False, verify=True):
                raise UserError("logger=wandb needs a Weights & Biases account, and nobody is logged in", _LOGIN)

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The W&B run, for anything else that a method logs; on other ranks it accepts every call."""
        return self._wandb

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Logs metrics by name, to metrics.csv and to W&B."""
        super().log_metrics(metrics, step)
        self.experiment.log({**metrics, STEP: step})

    @rank_zero_only
    def rewind(self, stage: str, epoch: int) -> None:
        """As for metrics.csv; its remaining rows are logged again into an offline run, which begins empty."""
        super().rewind(stage, epoch)
        if self.experiment.offline:
            for metrics, step in self.logged(stage):
                self.experiment.log({**metrics, STEP: step})

    @rank_zero_only
    def log_final(self, results: dict[str, Any]) -> None:
        """Adds the test metrics with intervals, tables, figures and artifacts of the run, and ends the W&B run."""
        super().log_final(results)
        test, intervals = results["test"], results["test"]["intervals"]["scalars"]
        run = self.experiment
        logged = {"test/per_class": _class_table(results)}
        if "confusion" in test:
            logged["test/confusion_matrix"] = _confusion(test)
        run.log({**logged, **images(self.file.parent / "figures")})
        for name, value in test["scalars"].items():
            low, high = intervals[name]
            run.summary.update({f"test/{name}": value, f"test/{name}_low": low, f"test/{name}_high": high})
        # Of the selected epoch, as the objective of a W&B sweep: W&B itself keeps the last epoch's value.
        run.summary.update({f"val/{name}": value for name, value in results["val"]["scalars"].items()})
        split = results["split"]
        leakage = split["leakage"] or {"fraction": None}
        run.summary.update({"split": split["name"], "split_hash": split["hash"], "leakage": leakage["fraction"]})
        for artifact in artifacts_of(self.file.parent, self._config, results, self._artifacts, run.id):
            run.log_artifact(artifact)
        with _announced_wait(f"uploading, at most {_UPLOAD_SECONDS // 60} minutes (the rest stays in {run.dir})"):
            run.finish()


def run_id(run_dir: Path, config: Mapping[str, Any], attempt: int = 0) -> str:
    """W&B id of a run: the same at every start, different for every folder, configuration and attempt."""
    parts = [str(run_dir.resolve()), identity(OmegaConf.create(dict(config))), attempt]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


@contextmanager
def _announced_wait(what: str) -> Iterator[None]:
    """Prints what is being waited for if the body takes longer than a few seconds."""
    timer = threading.Timer(_QUIET_SECONDS, print, [f"Weights & Biases: {what} ..."], {"file": sys.stderr})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def _as_user_error() -> Iterator[None]:
    """Turns the errors of W&B's library into one line."""
    from wandb.errors import Error

    try:
        yield
    except Error as error:
        reason = " ".join(str(error).split())
        hint = _NEW_ATTEMPT if "deleted" in reason else _LOGIN
        raise UserError(f"Weights & Biases could not start: {reason}", hint) from error
    except ValueError as error:  # A setting that W&B's library does not accept.
        reason = "; ".join(_settings_errors(error))
        raise UserError(f"Weights & Biases could not start: {reason}", "Correct the variables WANDB_... .") from error
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        raise UserError(
            f"Weights & Biases cannot write its files: {reason}", "Make room there, or use logger=csv."
        ) from error


@rank_zero_only
def _start(offline: bool, **arguments: Any) -> wandb.Run:
    """Opens the W&B run at once, so that a missing login ends the command now and with a line on what to do."""
    import wandb

    if wandb.run is not None:
        wandb.finish(exit_code=1)  # Left open by a failed job of the same sweep.
    with _as_user_error(), _announced_wait("starting"):
        settings = wandb.Settings(init_timeout=_START_SECONDS, finish_timeout=_UPLOAD_SECONDS)
        run = wandb.init(mode="offline" if offline else None, settings=settings, **arguments)
    run.define_metric(STEP, hidden=True)
    run.define_metric("*", step_metric=STEP)
    return run


def _settings_errors(error: ValueError) -> list[str]:
    """Each wrong setting with its reason from an error of pydantic's; the first line of any other error."""
    details: Any = getattr(error, "errors", list)()
    messages = [f"{'.'.join(map(str, detail['loc']))}={detail['input']}: {detail['msg']}" for detail in details]
    return messages or [(str(error).splitlines() or [type(error).__name__])[0]]


def _class_table(results: dict[str, Any]) -> wandb.Table:
    import wandb

    intervals = results["test"]["intervals"]["per_class"]
    multilabel = "thresholds" in results["test"]
    numbers = (*PER_LABEL, "threshold") if multilabel else PER_CLASS
    keys, main = ("class", "name", "tier", "support", *numbers), "ap" if multilabel else "recall"
    rows: list[Any] = [
        [*(row[key] for key in keys), *intervals[row["class"]][main]] for row in results["test"]["per_class"]
    ]
    return wandb.Table(columns=[*keys, f"{main}_low", f"{main}_high"], data=rows)


def _confusion(test: dict[str, Any]) -> Any:
    """A W&B chart of the confusion matrix, or a table of its non-zero cells if there are too many to draw."""
    import wandb

    classes = [row["class"] for row in test["per_class"]]
    columns: list[Any] = ["Actual", "Predicted", "nPredictions"]
    plotted = len(classes) <= MAX_PLOTTED_CLASSES
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
