"""Predictions of labelled images as arrays: of a run's validation or test part, or of another data set."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ltmed.runs.directory import DamagedRunError
from ltmed.runs.record import ATTRIBUTE, PREDICTIONS, VALIDATION
from ltmed.utils.files import replacing

if TYPE_CHECKING:
    import pandas as pd

    from ltmed.data.datamodule import DataModule
    from ltmed.data.manifest import Manifest
    from ltmed.evaluation.metrics import Evaluation
    from ltmed.runs.reader import Run


def write(
    run_dir: Path,
    data: DataModule,
    evaluation: Evaluation,
    thresholds: np.ndarray | None = None,
    file: str = PREDICTIONS,
) -> None:
    """Writes predictions.parquet, or validation.parquet, as a whole or not at all.

    It has one row per image of the part in manifest order: `image` (path under the data set's root),
    `label` and `predicted` (class codes), the group's number under its name (`lesion`, `patient`) where there are
    groups, `prob_<class>` (float32) for every class, and `attribute_<name>` (text) for every attribute. Of several
    labels, `label_<class>` (0, 1 or NaN) and `predicted_<class>` (0 or 1) for every label in place of the two.

    Args:
        run_dir: folder of the run.
        data: the data set, for image names and groups.
        evaluation: predictions for the part.
        thresholds: `[K]` of several labels, from `ltmed.runs.record.thresholds`.
        file: `PREDICTIONS` of the test part, or `VALIDATION`.
    """
    with replacing(run_dir / file) as partial:
        table_of(data.manifest, evaluation, thresholds).to_parquet(partial, index=False)


def table_of(
    manifest: Manifest,
    evaluation: Evaluation,
    thresholds: np.ndarray | None = None,
    disagreement: np.ndarray | None = None,
) -> pd.DataFrame:
    """The table of `write`; a label of -1, which is none of the classes, has an empty code.

    Args:
        manifest: its rows are what the evaluation's indices refer to.
        evaluation: predictions.
        thresholds: `[K]` of several labels, from `ltmed.runs.record.thresholds`.
        disagreement: `[N]` of the members of an ensemble, a further column.
    """
    import pandas as pd

    classes = evaluation.classes
    rows = evaluation.indices.cpu().numpy()
    probabilities = evaluation.probabilities.float().cpu().numpy()
    columns: dict[str, Any] = {"image": [manifest.images[row] for row in rows]}
    if thresholds is None:
        columns["label"] = [classes[k] if k >= 0 else "" for k in evaluation.labels.tolist()]
        columns["predicted"] = [classes[k] for k in probabilities.argmax(1)]
    else:
        targets, decided = evaluation.labels.cpu().numpy(), probabilities >= thresholds.astype(probabilities.dtype)
        columns |= {f"label_{code}": targets[:, k] for k, code in enumerate(classes)}
        columns |= {f"predicted_{code}": decided[:, k].astype("int8") for k, code in enumerate(classes)}
    if manifest.groups is not None:
        columns[manifest.group_name] = manifest.groups[rows]
    columns.update({f"prob_{code}": probabilities[:, k] for k, code in enumerate(classes)})
    if disagreement is not None:
        columns["disagreement"] = disagreement
    columns.update({f"{ATTRIBUTE}{name}": cells[rows] for name, cells in (manifest.attributes or {}).items()})
    return pd.DataFrame(columns)


@dataclass(frozen=True)
class Predictions:
    """N images, K classes."""

    classes: tuple[str, ...]
    probabilities: np.ndarray
    """float32 `[N, K]`."""
    labels: np.ndarray
    """int64 `[N]`; -1 for an image of none of the classes. Of several labels float32 `[N, K]`, 0, 1 or NaN."""
    groups: np.ndarray | None = None
    """int64 `[N]`, images of one lesion or patient; None if unknown."""
    unit: str = "image"
    """What a group is; "image" where there are none."""
    attributes: dict[str, np.ndarray] = field(default_factory=dict)
    """Name -> object `[N]` of text, "" where unknown."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def multilabel(self) -> bool:
        """Whether an image may carry several labels."""
        return self.labels.ndim == 2

    @property
    def usable(self) -> np.ndarray:
        """Images of a class, or with a label that is known: bool `[N]`."""
        return np.any(~np.isnan(self.labels), axis=1) if self.multilabel else self.labels >= 0

    def select(self, rows: np.ndarray) -> Predictions:
        """The predictions of some rows (indices, or a mask)."""
        return replace(
            self,
            probabilities=self.probabilities[rows],
            labels=self.labels[rows],
            groups=None if self.groups is None else self.groups[rows],
            attributes={name: cells[rows] for name, cells in self.attributes.items()},
        )

    @property
    def counts(self) -> np.ndarray:
        """int64 `[K]`: images of each class, or with each label."""
        if self.multilabel:
            return (self.labels == 1).sum(0)
        return np.bincount(self.labels[self.labels >= 0], minlength=len(self.classes))

    def evaluation(self) -> Evaluation:
        """For `ltmed.evaluation.metrics`; every image must be of a class."""
        import torch

        from ltmed.evaluation.metrics import Evaluation

        return Evaluation(
            torch.from_numpy(self.probabilities), torch.from_numpy(self.labels), torch.arange(len(self)), self.classes
        )


def from_table(table: pd.DataFrame, classes: tuple[str, ...], group: str | None) -> Predictions:
    """From a table as `table_of` makes it.

    Args:
        table: one row for each image.
        classes: K codes.
        group: name of the column of groups, or None.

    Raises:
        KeyError: a column is missing, or a label is no class.
    """
    index = {code: k for k, code in enumerate(classes)} | {"": -1}
    if "label" in table:
        labels = np.array([index[label] for label in table["label"]], dtype=np.int64)
    else:
        labels = np.ascontiguousarray(table[[f"label_{code}" for code in classes]].to_numpy(np.float32))
    return Predictions(
        classes=classes,
        probabilities=np.ascontiguousarray(table[[f"prob_{code}" for code in classes]].to_numpy(np.float32)),
        labels=labels,
        groups=None if group is None else table[group].to_numpy(np.int64),
        unit="image" if group is None else group,
        attributes={
            name.removeprefix(ATTRIBUTE): table[name].fillna("").to_numpy(object)
            for name in table.columns
            if name.startswith(ATTRIBUTE)
        },
    )


def read(file: Path, classes: tuple[str, ...], group: str | None) -> Predictions:
    """Reads a table that a run or `ltmed evaluate` wrote.

    Raises:
        FileNotFoundError: there is none.
        DamagedRunError: it cannot be read, or is not such a table.
    """
    import pandas as pd
    from pyarrow import ArrowException

    if not file.is_file():
        raise FileNotFoundError(file)
    try:
        return from_table(pd.read_parquet(file), classes, group)
    except (ArrowException, OSError):
        raise DamagedRunError(file, "cannot be read") from None
    except KeyError as error:
        raise DamagedRunError(file, f"lacks {error}") from None


def of_part(run: Run, part: str) -> Predictions:
    """The predictions that a run recorded for its validation ("val") or test part.

    Raises:
        FileNotFoundError: it was not copied with the run, or an earlier version of ltmed did not write it.
        DamagedRunError: it cannot be read.
    """
    file = run.path / {"val": VALIDATION, "test": PREDICTIONS}[part]
    return read(file, tuple(run.classes), run.metrics["split"].get("group"))
