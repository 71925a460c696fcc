"""Multi-label data of `dataset=manifest`: settings and label sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ltmed.data.readers import _multilabel
from ltmed.data.readers._labels import labels_in_cell, require_distinct
from ltmed.data.readers._rows import JOINT
from ltmed.errors import UserError, require_choice


class Rules(NamedTuple):
    """Rules for uncertain and blank cells, the no-finding label, and images without any label."""

    uncertain: str = "ignore"
    blank: str = "ignore"
    no_finding: str = "label"
    unlabelled: str = "keep"


class Sets(NamedTuple):
    """The label sets of N rows: indices into S distinct sets."""

    labels: tuple[str, ...]
    """K."""
    numbers: np.ndarray
    """int64 `[N]`."""
    texts: tuple[str, ...]
    """S, for messages."""
    sets: np.ndarray
    """float32 `[S, K]`."""
    selected: np.ndarray
    """bool `[N]`: rows that are included."""
    notes: tuple[str, ...]


@dataclass(frozen=True)
class MultilabelReader:
    """Reader of label columns, or of one column of joined labels."""

    separator: str | None
    """None: a column for each label."""
    rules: Rules

    def read(
        self, cells: Sequence[str], where: Callable[[int], str], order: Sequence[Any], columns: Sequence[str], name: str
    ) -> Sets:
        """Labels of all rows.

        Args:
            cells: of N rows, from `Rows.labels`.
            where: returns `file, line n` of a row.
            order: `dataset.classes`, may be empty.
            columns: `dataset.label_columns`, empty with a separator.
            name: of the data set, for messages.

        Raises:
            UserError: an invalid cell; a violated rule; no label at all.
        """
        rules, names = self.rules, tuple(map(str, order))
        if self.separator is None:
            labels = names or tuple(columns)
            if len(labels) != len(columns) or len(set(labels)) < len(labels):
                raise UserError(
                    f"dataset.classes ({len(labels)}) does not fit dataset.label_columns ({len(columns)})",
                    "Name every label once, in the order of the columns.",
                )
            require_distinct(lambda _: "dataset.label_columns", tuple(map(str, columns)))
            require_distinct(lambda _: "dataset.classes", labels)
            by_column = list(zip(*(cell.split(JOINT) for cell in cells), strict=True))
            values = _multilabel.read_columns(by_column, columns, where, uncertain=rules.uncertain, blank=rules.blank)
            if rules.no_finding == "absence":
                labels, values = _multilabel.without_absence(labels, values, where)
            _multilabel.require_known_absences(values, labels, where)
        else:
            absence = ()
            if rules.no_finding == "absence":
                pieces = {label for cell in set(cells) for label in labels_in_cell(cell, self.separator)}
                if (absence_label := _multilabel.absent_label(sorted(pieces))) is not None:
                    absence = (absence_label,)
                    names = tuple(label for label in names if label != absence_label)
            labels, values = _multilabel.read_joined(cells, self.separator, where, names or None, absence=absence)
        if not (values == 1).any():
            raise UserError(f"{where(0)}: no image of {name} has a label", "Look at the columns of labels.")
        selected, note = _multilabel.select_rows(values, rules.unlabelled, where, name)
        unknown = int(np.isnan(values).sum())
        notes = [note] if note else []
        notes += [f"{unknown:,} of {values.size:,} labels are unknown"] if unknown else []
        return Sets(tuple(labels), *_multilabel.label_sets(values, labels), selected, tuple(notes))


def multilabel_reader(columns: bool, multilabel: bool, separator: str | None, rules: Rules) -> MultilabelReader | None:
    """The multi-label reader for the settings, None for one label per image.

    Args:
        columns: whether `dataset.label_columns` is set.
        multilabel: `dataset.multilabel`.
        separator: `dataset.separator`.
        rules: the other settings.

    Raises:
        UserError: an unknown setting, or settings that contradict each other.
    """
    _multilabel.require_rules(rules.uncertain, rules.no_finding, rules.unlabelled)
    require_choice("dataset.blank", rules.blank, _multilabel.BLANK)
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
    return MultilabelReader(separator, rules)
