"""One Weights & Biases run for a run of ltmed, whatever its number of stages, restarts and processes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.fabric.utilities.rank_zero import rank_zero_only

from ltmed.errors import UserError
from ltmed.logging.csv import CSVLogger
from ltmed.logging.wandb_media import images, tags
from ltmed.runs.job import RunName

if TYPE_CHECKING:
    import wandb

STEP = "trainer/global_step"
MOST_PLOTTED = 100
"""Classes of a confusion matrix that W&B can still plot (its charts read at most 10,000 rows)."""


class WandbLogger(CSVLogger):
    """metrics.csv, and the same numbers in one Weights & Biases run, whatever the number of stages and restarts.

    The run's id is made from the path of the run directory, so a resumed run continues there (online), or adds one
    more `offline-run-*` folder with the same id, which `wandb sync` joins. Steps start at 0 in every stage; that is
    no trouble, because metric names carry their stage and are drawn over `trainer/global_step`, not over W&B's own
    ever-growing step. Runs are grouped by data set and method. Only the first rank talks to W&B, and not through
    Lightning's logger, which would ask for a login in a prompt.

    Args:
        run_dir: the run's folder.
        name: what the run is called.
        config: the run's resolved configuration; shown with the run, and besides it `row`, its method and settings.
        project: W&B project.
        entity: W&B user or team; None is the account's default.
        offline: True writes to `<run_dir>/wandb` only and needs neither account nor network. So does the environment
            variable WANDB_MODE=offline.

    Raises:
        UserError: W&B is to be used online, but nobody is logged in or it cannot be reached.
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
    ) -> None:
        super().__init__(run_dir, name, config)
        self._wandb = _start(
            offline,
            id=run_id(run_dir),
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
    def log_final(self, found: dict[str, Any]) -> None:
        """Adds the test numbers with intervals, tables, the run folder's pictures, and ends the W&B run."""
        super().log_final(found)
        test, intervals = found["test"], found["test"]["intervals"]["scalars"]
        run = self.experiment
        views = {"test/per_class": _class_table(found), "test/confusion_matrix": _confusion(test)}
        run.log({**views, **images(self.file.parent / "figures")})
        for name, value in test["scalars"].items():
            low, high = intervals[name]
            run.summary.update({f"test/{name}": value, f"test/{name}_low": low, f"test/{name}_high": high})
        split = found["split"]
        leakage = split["leakage"] or {"fraction": None}
        run.summary.update({"split": split["name"], "split_hash": split["hash"], "leakage": leakage["fraction"]})
        run.finish()


def run_id(run_dir: Path) -> str:
    """W&B id of the run in `run_dir`: the same at every start, another for every folder."""
    return hashlib.sha256(str(run_dir.resolve()).encode()).hexdigest()[:16]


@rank_zero_only
def _start(offline: bool, **arguments: Any) -> wandb.Run:
    """Opens the W&B run at once, so that a missing login ends the command now and with a line on what to do."""
    import wandb
    from wandb.errors import Error

    if wandb.run is not None:
        wandb.finish(exit_code=1)  # Left by a job of the same sweep that failed; its run is not ours.
    mend = "Run `wandb login`, or keep the run on this machine with logger.offline=true."
    try:
        online = not offline and wandb.setup().settings.mode in ("online", "run", "shared")
        if online and not wandb.login(prompt=False, verify=False):
            raise UserError("logger=wandb needs a Weights & Biases account, and nobody is logged in", mend)
        run = wandb.init(mode="offline" if offline else None, **arguments)
    except Error as error:
        raise UserError(f"Weights & Biases could not start: {error}", mend) from error
    except ValueError as error:  # A setting that W&B's library does not accept.
        reason = "; ".join(_settings_errors(error))
        raise UserError(f"Weights & Biases could not start: {reason}", "Correct the variables WANDB_... .") from error
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
    keys = ("class", "name", "tier", "support", "precision", "recall", "f1", "auroc")
    rows: list[Any] = [
        [*(row[key] for key in keys), *intervals[row["class"]]["recall"]] for row in found["test"]["per_class"]
    ]
    return wandb.Table(columns=[*keys, "recall_low", "recall_high"], data=rows)


def _confusion(test: dict[str, Any]) -> Any:
    """A W&B chart of the confusion matrix, or a table of its non-zero cells if there are too many to draw."""
    import wandb

    classes = [row["class"] for row in test["per_class"]]
    columns: list[Any] = ["Actual", "Predicted", "nPredictions"]
    drawn = len(classes) <= MOST_PLOTTED
    cells: list[Any] = [
        [true, predicted, count]
        for true, row in zip(classes, test["confusion"], strict=True)
        for predicted, count in zip(classes, row, strict=True)
        if count or drawn
    ]
    table = wandb.Table(columns=columns, data=cells)
    if not drawn:
        return table
    return wandb.plot_table("wandb/confusion_matrix/v1", table, {column: column for column in columns}, {"title": ""})
