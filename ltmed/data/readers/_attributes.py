"""Attributes of images in tables (age, sex, site, ...), for metrics of subgroups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ltmed.data.readers._parts import squashed
from ltmed.data.readers._tables import Table

NAMES = {
    "age": ("age", "age approx", "patient age", "age years", "age at diagnosis"),
    "sex": ("sex", "gender", "patient sex", "patient gender"),
    "localization": (
        *("localization", "localisation", "anatom site general", "anatom site", "anatomical site", "anatomic site"),
        *("body site", "body part", "site"),
    ),
    "skin_type": ("skin type", "fitzpatrick", "fitzpatrick skin type", "fitzpatrick scale", "phototype"),
    "race": ("race", "ethnicity", "race ethnicity"),
    "device": ("device", "camera", "scanner", "manufacturer"),
}
"""Attribute -> names of its column, in order of preference; case, blanks, `_`, `-` and `.` are ignored. The name of an
attribute is the same for all data sets, so that subgroups can be compared."""


def attribute_columns(
    table: Table, excluded: Sequence[str | None] = (), selected: Sequence[str] = ()
) -> dict[str, str]:
    """Attribute -> column of a table.

    Args:
        table: from `read_table`.
        excluded: columns with another role (the label, the id of a group).
        selected: further columns by their names in the table; each is an attribute of its own name.
    """
    plain: dict[str, str] = {}
    for name in table:
        plain.setdefault(squashed(name), name)
    columns: dict[str, str] = {}
    for attribute, aliases in NAMES.items():
        candidates = (plain.get(squashed(alias)) for alias in aliases)
        column = next((name for name in candidates if name is not None and name not in excluded), None)
        if column is not None and column not in selected:
            columns[attribute] = column
    return columns | {name: name for name in selected}


def attributes_of(table: Table, stems: Sequence[str], listed: Sequence[str]) -> dict[str, np.ndarray] | None:
    """The attributes of images, found by name.

    Args:
        table: of one row for each listed image.
        stems: N image names.
        listed: the image name of each row of the table.

    Returns:
        attribute -> object `[N]` of text, "" where the table does not list the image or the cell is empty; None where
        the table has no such column.
    """
    columns = attribute_columns(table)
    if not columns:
        return None
    row_of = {name: row for row, name in enumerate(listed)}
    rows = [row_of.get(name) for name in stems]
    return as_arrays(
        {
            attribute: ["" if row is None else table[column][row] for row in rows]
            for attribute, column in columns.items()
        }
    )


def as_arrays(cells: Mapping[str, Sequence[str]]) -> dict[str, np.ndarray] | None:
    """Attribute -> object `[N]`; None where there is no attribute."""
    return {name: np.array(values, dtype=object) for name, values in cells.items()} or None
