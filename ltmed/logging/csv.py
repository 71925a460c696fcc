"""metrics.csv: the numbers of a run while it trains, named `stage/split/metric`, and `test/metric` at its end."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers.logger import Logger

from ltmed.runs.job import RunName
from ltmed.utils.files import write_atomic

COLUMNS = ("stage", "epoch", "step", "name", "value")


class CSVLogger(Logger):
    """Appends to `metrics.csv` in the run directory: one row (stage, epoch, step, name, value) per number.

    Lightning's own CSV logger overwrites its file in a resumed run. This one keeps it: `rewind` drops the rows that the
    replayed epochs will log again, so that the file of a run that was killed and resumed equals that of an
    uninterrupted run. Only the first rank writes.

    Args:
        run_dir: the run's folder.
        name: the run's name.
        config: the run's resolved configuration, for loggers that show it.
    """

    def __init__(self, run_dir: Path, name: RunName, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.file = run_dir / "metrics.csv"
        self.run = name
        self._stage = ""
        self._pending: list[tuple[Any, ...]] = []

    @classmethod
    def require_usable(cls, **settings: Any) -> None:
        """Raises UserError if the logger with these settings could not start; called before a run has a folder."""

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
        """Logs metrics by name; an entry `epoch`, which Lightning adds, fills that column instead of a row."""
        epoch = metrics.get("epoch")
        epoch = "" if epoch is None else int(epoch)
        for name, value in metrics.items():
            if name != "epoch":
                # Lightning's callbacks log names without a stage; they belong to the one in training.
                stage = name.split("/", 1)[0] if "/" in name else self._stage
                self._pending.append((stage, epoch, "" if step is None else step, name, repr(float(value))))

    @rank_zero_only
    def save(self) -> None:
        """Writes what was logged since the last call; Lightning calls it after every `log_metrics`."""
        if not self._pending:
            return
        with self.file.open("a", newline="", encoding="utf-8") as file:
            # A file that was killed within its first line is empty after `rewind`, and has no names of columns.
            file.write(_lines(self._pending if file.tell() else [COLUMNS, *self._pending]))
        self._pending.clear()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Writes the rows that are still pending."""
        self.save()

    @rank_zero_only
    def rewind(self, stage: str, epoch: int) -> None:
        """Begins or continues `stage`: drops what it logged from `epoch` (counted from 0) on, to be logged again.

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

    def logged(self, stage: str) -> Iterator[tuple[dict[str, float], int]]:
        """The rows of a stage in metrics.csv, as they were passed to `log_metrics`: metrics by name, and their step."""
        if not self.file.exists():
            return
        with self.file.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["stage"] == stage and row["step"]]
        for (epoch, step), group in groupby(rows, lambda row: (row["epoch"], row["step"])):
            metrics = {row["name"]: float(row["value"]) for row in group}
            yield {**metrics, "epoch": int(epoch)} if epoch else metrics, int(step)

    @rank_zero_only
    def log_final(self, results: dict[str, Any]) -> None:
        """Adds the test metrics of a finished run, once however often it is called.

        Args:
            results: as returned by `ltmed.runs.record.collect`.
        """
        self.rewind("test", 0)
        scalars = results["test"]["scalars"]
        self._pending += [("test", "", "", f"test/{name}", repr(_float(value))) for name, value in scalars.items()]
        self.save()


def _float(value: float | None) -> float:
    return float("nan") if value is None else value


def _lines(rows: Iterable[Iterable[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
