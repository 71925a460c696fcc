"""Where the numbers of a run go while it trains: metrics.csv, and if asked for one Weights & Biases run as well.

One logger serves every stage of a run. Metric names are `stage/split/metric`, and `test/metric` for the final test.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers.logger import Logger

from ltmed.errors import UserError
from ltmed.rundir import write_atomic
from ltmed.wandb_views import images, row_name, tags

if TYPE_CHECKING:
    import wandb

COLUMNS = ("stage", "epoch", "step", "name", "value")
STEP = "trainer/global_step"
MOST_PLOTTED = 100
"""Classes of a confusion matrix that W&B can still plot (its charts read at most 10,000 rows)."""


class CSVLogger(Logger):
    """Appends to `metrics.csv` in the run directory: one row (stage, epoch, step, name, value) per number.

    Lightning's own CSV logger starts its file anew in a resumed run. This one keeps it: `rewind` drops what the
    replayed epochs will log again, so that the file of a run that was killed and resumed equals that of one that
    never was. Only the first rank writes.

    Args:
        run_dir: the run's folder.
        config: the run's resolved config, which names the run.
    """

    def __init__(self, run_dir: Path, config: dict[str, Any]) -> None:
        super().__init__()
        self.file = run_dir / "metrics.csv"
        self.run = RunNames(config)
        self._stage = ""
        self._pending: list[tuple[Any, ...]] = []

    @property
    def name(self) -> str:
        """Data set and method."""
        return self.run.group

    @property
    def version(self) -> str:
        """Fold and seed."""
        return self.run.version

    @property
    def save_dir(self) -> str:
        """The run directory."""
        return str(self.file.parent)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing to do: config.yaml is in the run directory already."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Takes numbers by name; an entry `epoch`, which Lightning adds, fills that column instead of a row."""
        epoch = metrics.get("epoch")
        epoch = "" if epoch is None else int(epoch)
        for name, value in metrics.items():
            if name != "epoch":
                # Lightning's callbacks log names without a stage ("lr-SGD"); they belong to the one in training.
                stage = name.split("/", 1)[0] if "/" in name else self._stage
                self._pending.append((stage, epoch, "" if step is None else step, name, repr(float(value))))

    @rank_zero_only
    def save(self) -> None:
        """Writes what was logged since the last call; Lightning calls it after every `log_metrics`."""
        if not self._pending:
            return
        new = not self.file.exists()
        with self.file.open("a", newline="", encoding="utf-8") as file:
            file.write(_lines([COLUMNS, *self._pending] if new else self._pending))
        self._pending.clear()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Writes what is left."""
        self.save()

    @rank_zero_only
    def rewind(self, stage: str, epoch: int) -> None:
        """Begins or continues `stage`: forgets what it logged from `epoch` (counted from 0) on, to be logged again.

        Rows of a stage are in order of time; all after its last row from before `epoch` go, so rows without an epoch
        (Lightning's callbacks log some) go with the epoch that they belong to. A half-written last line goes too.
        """
        self._stage = stage
        self._pending.clear()
        if not self.file.exists():
            return
        text = self.file.read_text(encoding="utf-8")
        rows = list(csv.reader(io.StringIO(text[: text.rfind("\n") + 1])))
        earlier = [i for i, row in enumerate(rows) if row[0] == stage and row[1] and int(row[1]) < epoch]
        last = earlier[-1] if earlier else -1
        write_atomic(self.file, _lines(row for i, row in enumerate(rows) if row[0] != stage or i <= last))

    @rank_zero_only
    def log_final(self, found: dict[str, Any]) -> None:
        """Adds the test numbers of a finished run, once however often it is called.

        Args:
            found: as returned by `ltmed.results.collect`.
        """
        self.rewind("test", 0)
        scalars = found["test"]["scalars"]
        self._pending += [("test", "", "", f"test/{name}", repr(_float(value))) for name, value in scalars.items()]
        self.save()


class WandbLogger(CSVLogger):
    """metrics.csv, and the same numbers in one Weights & Biases run, whatever the number of stages and restarts.

    The run's id is made from the path of the run directory, so a resumed run continues there (online), or adds one
    more `offline-run-*` folder with the same id, which `wandb sync` joins. Steps start at 0 in every stage; that is
    no trouble, because metric names carry their stage and are drawn over `trainer/global_step`, not over W&B's own
    ever-growing step. Runs are grouped by data set and method. Only the first rank talks to W&B, and not through
    Lightning's logger, which would ask for a login in a prompt.

    Args:
        run_dir: the run's folder.
        config: the run's resolved config; shown with the run, and besides it `row`, its method and settings.
        project: W&B project.
        entity: W&B user or team; None is the account's default.
        offline: True writes to `<run_dir>/wandb` only and needs neither account nor network. So does the environment
            variable WANDB_MODE=offline.

    Raises:
        UserError: W&B is to be used online, but nobody is logged in or it cannot be reached.
    """

    def __init__(
        self, run_dir: Path, config: dict[str, Any], *, project: str, entity: str | None, offline: bool
    ) -> None:
        super().__init__(run_dir, config)
        self._wandb = _start(
            offline,
            id=run_id(run_dir),
            resume="allow",
            dir=run_dir,
            project=project,
            entity=entity,
            name=f"{self.run.group}-{self.run.version}",
            group=self.run.group,
            job_type=self.run.method,
            tags=tags(config, self.run.dataset, self.run.method),
            config={**config, "row": row_name(run_dir, self.run.method)},
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


class RunNames:
    """What a run is called: data set, method, fold and seed, from its resolved config."""

    def __init__(self, config: dict[str, Any]) -> None:
        # A reader is one module named like its data set.
        self.dataset = str(config["dataset"]["_target_"]).split(".")[-2]
        self.method = str(config["method"]["name"])
        self.group = f"{self.dataset}-{self.method}"
        self.version = f"fold{config['fold']}-seed{config['seed']}"


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


def _float(value: float | None) -> float:
    return float("nan") if value is None else value


def _lines(rows: Iterable[Iterable[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
