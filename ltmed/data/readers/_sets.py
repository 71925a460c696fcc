"""How `dataset=manifest` reads several labels per image: the settings, and what becomes of the rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ltmed.data.readers import _several
from ltmed.data.readers._rows import JOINT
from ltmed.errors import UserError, require_choice


class Rules(NamedTuple):
    """What becomes of uncertain and empty cells, of the label of no finding, and of images without any label."""

    uncertain: str = "ignore"
    blank: str = "ignore"
    no_finding: str = "label"
    unlabelled: str = "keep"


class Sets(NamedTuple):
    """N rows as numbers of the S different sets of labels that they have."""

    labels: tuple[str, ...]
    """K."""
    numbers: np.ndarray
    """int64 `[N]`."""
    texts: tuple[str, ...]
    """S, for messages."""
    sets: np.ndarray
    """float32 `[S, K]`."""
    kept: np.ndarray
    """bool `[N]`: rows that are not left out."""
    notes: tuple[str, ...]


@dataclass(frozen=True)
class SeveralLabels:
    """Reads columns of labels, or one column of joined ones."""

    separator: str | None
    """None: a column for each label."""
    rules: Rules

    def read(
        self, cells: Sequence[str], where: Callable[[int], str], order: Sequence[Any], columns: Sequence[str], name: str
    ) -> Sets:
        """Labels of all rows.

        Args:
            cells: of N rows, as `Rows.labels` has them.
            where: gives `file, line n` of a row.
            order: `dataset.classes`, may be empty.
            columns: `dataset.label_columns`, empty with a separator.
            name: of the data set, for messages.

        Raises:
            UserError: a cell that is no label; whatever `Rules` refuse; no label at all.
        """
        rules, names = self.rules, tuple(map(str, order))
        if self.separator is None:
            labels = names or tuple(columns)
            if len(labels) != len(columns) or len(set(labels)) < len(labels):
                raise UserError(
                    f"dataset.classes ({len(labels)}) does not fit dataset.label_columns ({len(columns)})",
                    "Name every label once, in the order of the columns.",
                )
            by_column = list(zip(*(cell.split(JOINT) for cell in cells), strict=True))
            values = _several.read_columns(by_column, columns, where, uncertain=rules.uncertain, blank=rules.blank)
            if rules.no_finding == "absence":
                labels, values = _several.without_absence(labels, values, where)
        else:
            absence = ()
            if rules.no_finding == "absence":
                pieces = {piece.strip() for cell in set(cells) for piece in cell.split(self.separator)}
                if (found := _several.absent_label(sorted(pieces))) is not None:
                    absence = (found,)
                    names = tuple(label for label in names if label != found)
            labels, values = _several.read_joined(cells, self.separator, where, names or None, absence=absence)
        if not (values == 1).any():
            raise UserError(f"{where(0)}: no image of {name} has a label", "Look at the columns of labels.")
        kept, note = _several.kept_rows(values, rules.unlabelled, where, name)
        unknown = int(np.isnan(values).sum())
        notes = [note] if note else []
        notes += [f"{unknown:,} of {values.size:,} labels are unknown"] if unknown else []
        return Sets(tuple(labels), *_several.label_sets(values, labels), kept, tuple(notes))


def several_of(columns: bool, multilabel: bool, separator: str | None, rules: Rules) -> SeveralLabels | None:
    """The reader of several labels that the settings ask for, None for one label per image.

    Args:
        columns: whether `dataset.label_columns` is set.
        multilabel: `dataset.multilabel`.
        separator: `dataset.separator`.
        rules: the other settings.

    Raises:
        UserError: a setting that does not exist, or two that do not go together.
    """
    _several.require_rules(rules.uncertain, rules.no_finding, rules.unlabelled)
    require_choice("dataset.blank", rules.blank, _several.BLANK)
    if separator is not None and (columns or not separator):
        raise UserError(
            f"dataset.separator='{separator}' needs one column of labels",
            "Leave out dataset.label_columns, or dataset.separator.",
        )
    if multilabel and not columns and separator is None:
        raise UserError(
            "dataset.multilabel=true needs to know where the labels are",
            "Say dataset.label_columns=[NAME,NAME,...], or \"dataset.separator='|'\" for one column of labels.",
        )
    if separator is None and not multilabel:
        if rules != Rules():
            changed = ", ".join(key for key, value in rules._asdict().items() if value != Rules._field_defaults[key])
            raise UserError(
                f"dataset.{changed} is about images with several labels",
                "Say dataset.multilabel=true with dataset.label_columns, or dataset.separator.",
            )
        return None
    return SeveralLabels(separator, rules)
