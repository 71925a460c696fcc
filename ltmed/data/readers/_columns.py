"""Roles of the columns of a table: image, label, group ids, part, fold, source."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ltmed.data.readers._attributes import attribute_columns
from ltmed.data.readers._parts import parse_part, squashed
from ltmed.data.readers._tables import Table
from ltmed.data.readers._text import listed_value, shortened
from ltmed.data.readers._walk import EXTENSIONS
from ltmed.errors import UserError, suggest

ALIASES = {
    "image": (
        *("image", "path", "file", "filename", "image path", "image id", "isic id", "id code", "video file"),
        *("file path", "image name", "image file", "image filename", "image index", "img", "img path", "img name"),
        *("img id", "img file", "picture", "photo", "fname", "dicom id", "dicom path", "sop instance uid", "id"),
    ),
    "label": (
        *("label", "diagnosis", "dx", "class", "target", "labels", "class name", "finding", "findings"),
        *("finding labels", "category", "class label", "class id", "diagnosis label", "disease", "condition"),
        *("pathology", "grade", "level", "lesion type", "tumor type", "ground truth", "benign malignant"),
    ),
    "group": (
        *("group", "group id", "lesion", "lesion id", "lesion no", "lesion number", "lesion name"),
        *("patient", "patient id", "patient no", "patient nr", "patient num", "patient number", "patient name"),
        *("subject", "subject id", "subject no", "subject number", "participant", "participant id", "person"),
        *("person id", "case id", "case no", "case num", "case number", "case name", "pid", "mrn", "study id"),
        *("study instance uid", "accession number", "exam id"),
    ),
    "part": ("part", "split", "partition", "subset", "set", "data split", "dataset split"),
    "fold": ("fold", "split index", "kfold", "cv fold"),
    "source": ("source", "hospital", "center", "centre", "institution", "collection"),
    "attribute": (),
}
"""Names of the columns, in order of preference; case, blanks, `_`, `-` and `.` are ignored. Groups: also `_ID`.
Attributes that are found automatically are in `ltmed.data.readers._attributes.NAMES`."""

_ID = re.compile(
    r"(anon(ymi[sz]ed)?|pseudo(nym(i[sz]ed)?)?|deid(entified)?|hashed|internal|public|original|orig|new|study|unique)?"
    r"(patients?|patienten|pat|pt|lesions?|subjects?|subj|participants?|persons?|individuals?|volunteers?|donors?|cases?)"
    r"(identifier|pseudonym|ids?|uid|uuid|nos?|nr|num|numbers?|nummer|names?|codes?|hash|keys?|index)(hash(ed)?|anon)?"
)
"""Further names of id columns, after `squashed`: `anon_patient_id`, `PatNr`, `lesion_code`."""
LISTS = ("image", "group", "attribute")
"""Roles that several columns may have."""

_SURE_ID = re.compile(
    r"patient|subject|participant|person|individual|volunteer|donor|^(pat|pt|subj)|"
    r"(id|ids|identifier|uid|uuid|no|nos|nr|num|numbers?|nummer|mrn|pid)$"
)
"""Names, after `squashed`, of persons, or of ids of anything."""
_LARGE_GROUP, _FEW_GROUPS = 10, 50  # Ten groups for each of the usual five folds.

_SURE_PARTS = ("part", "split")


@dataclass(frozen=True)
class Roles:
    """The columns of one table, by their names in it."""

    images: list[str]
    label: str | None
    groups: list[str]
    part: str | None
    fold: str | None
    source: str | None
    attributes: dict[str, str] = field(default_factory=dict)
    """Attribute -> column."""

    def described(self) -> str:
        """`image isic_id, label dx, group patient_id and lesion_id`."""
        roles = {"image": self.images, "label": [self.label], "group": self.groups}
        roles |= {"part": [self.part], "fold": [self.fold], "source": [self.source]}
        roles |= {"attribute": list(self.attributes.values())}
        columns = {role: " and ".join(name for name in names if name) for role, names in roles.items()}
        return ", ".join(f"{role} {names}" for role, names in columns.items() if names)


def parse_columns(columns: Mapping[str, Any] | None) -> dict[str, list[str]]:
    """`dataset.columns` as role -> names of columns, without the roles that are null; an empty list is no column.

    Raises:
        UserError: a role that does not exist; several columns for a role that has one.
    """
    selected: dict[str, list[str]] = {}
    for role, value in (columns or {}).items():
        if role not in ALIASES:
            raise UserError(f"dataset.columns has no role '{role}'", suggest(str(role), ALIASES))
        names = [value] if isinstance(value, (str, int, float)) else list(value or ())
        if len(names) > 1 and role not in LISTS:
            raise UserError(f"dataset.columns.{role} names {len(names)} columns", "It takes one.")
        if value is not None:
            selected[role] = [str(name) for name in names]
    return selected


def find_roles(table: Table, selected: Mapping[str, Sequence[str]], *, onehot: bool) -> Roles:
    """Finds the column of every role in one table.

    Args:
        table: from `read_table`.
        selected: from `parse_columns`; takes precedence over `ALIASES`.
        onehot: labels are in one column per class, so that no label column is needed.

    Raises:
        UserError: the image, label or a selected column is missing.
    """
    plain: dict[str, list[str]] = {}
    for name in table:
        plain.setdefault(squashed(name), []).append(name)

    def find(role: str) -> list[str]:
        if role in selected:
            return [_named_column(table, plain, role, name) for name in selected[role]]
        columns = [name for alias in ALIASES[role] for name in plain.get(squashed(alias), ())]
        if role == "group":
            return columns + [name for name in table if name not in columns and _ID.fullmatch(squashed(name))]
        return columns[:1]

    images, labels, parts = find("image"), [] if onehot else find("label"), find("part")
    for role, columns in (("image", images), ("label", labels)):
        if not columns and not (role == "label" and onehot):
            raise _missing(table, role)
    if "part" not in selected and parts and squashed(parts[0]) not in _SURE_PARTS and not _are_parts(table[parts[0]]):
        parts = []
    if "label" not in selected and labels:
        _warn_of_other_labels(table, plain, labels[0])
    label, part, fold, source = (_first(columns) for columns in (labels, parts, find("fold"), find("source")))
    used = (*images, label, part, fold, source)
    groups = [name for name in dict.fromkeys(find("group")) if name not in used]
    attributes = attribute_columns(table, (*used, *groups), find("attribute"))
    return Roles(images, label, groups, part, fold, source, attributes)


def refuse_descriptions(where: object, columns: Mapping[str, Sequence[str]]) -> None:
    """Refuses columns that were found as ids of groups, but seem to describe the images: the type of a lesion.

    To group by them would test on types that are never trained on. Half of the images must be in groups of more than
    `_LARGE_GROUP` images; besides, there are fewer than `_FEW_GROUPS` groups, or no id has a digit. A column whose
    name says that it holds persons, numbers or ids is what it says: a set may have few patients with many images each.

    Args:
        where: the table, for messages.
        columns: name of a column -> the normalised ids of N images, "" for none.

    Raises:
        UserError: names the first such column, and how to use it or leave it out.
    """
    for name, ids in columns.items():
        images_of = Counter(cell for cell in ids if cell)
        sizes = sorted(images_of[cell] for cell in ids if cell)
        numbered = any(map(str.isdigit, "".join(images_of)))
        if not sizes or sizes[len(sizes) // 2] <= _LARGE_GROUP or _SURE_ID.search(squashed(name)):
            continue
        if len(images_of) < _FEW_GROUPS or not numbered:
            others = [other for other in columns if other != name]
            raise UserError(
                f"{where}: the column '{name}' was taken for ids of groups, but puts {len(sizes):,} images into "
                f"{len(images_of):,} groups ({shortened(images_of, 3)}), so that it seems to describe them",
                f"If it is an id, say dataset.columns.group={listed_value(columns)}, else "
                f"dataset.columns.group={listed_value(others)}.",
            )


def _first(names: Sequence[str]) -> str | None:
    return names[0] if names else None


def _named_column(table: Table, plain: Mapping[str, Sequence[str]], role: str, requested: str) -> str:
    name = requested.strip().lower()
    if name in table:
        return name
    matches = plain.get(squashed(requested), ())
    if len(matches) == 1:
        return matches[0]
    raise UserError(f"{table.path} has no column '{requested}' (dataset.columns.{role})", suggest(name, table))


def _missing(table: Table, role: str) -> UserError:
    names = [name for name in table if name]
    listed = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    hint = f"It has {listed}; say dataset.columns.{role}=NAME, or rename one."
    if any(name.endswith(EXTENSIONS) for name in names):
        hint = f"Its first line seems to hold data ({', '.join(names)[:120]}): write a header above it, 'image,label'."
    elif role == "label":
        binary = [name for name in names if set(table[name]) <= {"0", "1", "0.0", "1.0"}]
        if len(binary) > 1:
            hint = f'For one column of 0 and 1 per class say "dataset.label_columns=[{",".join(binary)}]". {hint}'
    return UserError(f"{table.path} has no column '{role}'", hint)


def _are_parts(cells: Sequence[str]) -> bool:
    values = set(cells) - {""}
    return bool(values) and all(parse_part(value) for value in values)


def _warn_of_other_labels(table: Table, plain: Mapping[str, Sequence[str]], label: str) -> None:
    """Warns if there is a second possible label column with another partition of the images."""
    cells = table[label]
    for alias in ALIASES["label"]:
        for name in plain.get(squashed(alias), ()):
            if name == label:
                continue
            other_cells = table[name]
            pairs = len(set(zip(cells, other_cells, strict=True)))
            if 1 < len(set(other_cells)) <= max(len(cells) // 2, 2) and not pairs == len(set(cells)) == len(
                set(other_cells)
            ):
                warnings.warn(
                    f"{table.path}: labels are taken from the column '{label}' ({shortened(dict.fromkeys(cells), 3)}); "
                    f"'{name}' ({shortened(dict.fromkeys(other_cells), 3)}) divides the images otherwise: "
                    f"dataset.columns.label={_quoted(name)} takes that one",
                    stacklevel=5,
                )
                return


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[\w.-]+", name) else f"\"'{name}'\""
