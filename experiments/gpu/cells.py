"""The rows of a study with the learning rates that are tried, and the rate that validation chooses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ltmed.config import overrides
from ltmed.config.compose import compose
from ltmed.studies import catalogue
from ltmed.studies.filters import StudyFilters
from ltmed.studies.study import Repetition

FACTORS = (1.0, 0.3, 3.0)
"""Of the learning rate that a row has in the study; the same three for every row."""


@dataclass(frozen=True)
class Row:
    """One row of a study."""

    study: str
    name: str
    cost: int
    """Views times epochs."""
    key: str
    """The setting of its learning rate; of two stages the first one's."""
    rate: str

    @property
    def trials(self) -> list[str]:
        """The learning rates that are tried, its own first."""
        return [self.rate, *(f"{float(self.rate) * factor:.3g}" for factor in FACTORS if factor != 1)]

    def cells(self, words: Sequence[str], rate: str | None = None) -> list[Repetition]:
        """Its runs.

        Args:
            words: filters, and overrides of every run.
            rate: None for that of the study.
        """
        changed = [] if rate in (None, self.rate) else [f"{self.key}={rate}"]
        return _cells(self.study, [*words, f"row={overrides.quoted(self.name)}", *changed])


def rows(study: str, words: Sequence[str]) -> list[Row]:
    """The rows of a study, those of least work first."""
    found: dict[str, Row] = {}
    for cell in _cells(study, words):
        if cell.row in found:
            continue
        cfg = compose(cell.overrides)
        epochs = {name: stage.epochs for name, stage in cfg.method.stages.items()}
        if cfg.epochs is not None:
            epochs.update(dict.fromkeys(epochs, cfg.epochs) if isinstance(cfg.epochs, int) else cfg.epochs)
        first = next(iter(epochs))
        found[cell.row] = Row(
            study, cell.row, sum(epochs[name] * stage.views for name, stage in cfg.method.stages.items()),
            f"method.stages.{first}.optimizer.lr", f"{cfg.method.stages[first].optimizer.lr:g}",
        )  # fmt: skip
    return sorted(found.values(), key=lambda row: row.cost)


def validation(run_dir: Path) -> float:
    """Balanced accuracy of a finished run on its validation images."""
    import pandas as pd
    from sklearn.metrics import balanced_accuracy_score

    table = pd.read_parquet(run_dir / "validation.parquet", columns=["label", "predicted"])
    return float(balanced_accuracy_score(table["label"].astype(str), table["predicted"].astype(str)))


def _cells(study: str, words: Sequence[str]) -> list[Repetition]:
    filters = StudyFilters(words)
    return list(filters.select(catalogue.load(study, filters.scale)).cells(filters.further))
