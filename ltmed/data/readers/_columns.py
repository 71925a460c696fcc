"""Which column of a table has which role: image, label, ids of groups, part, fold, source."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ltmed.data.readers._attributes import attribute_columns
from ltmed.data.readers._parts import part_named, squashed
from ltmed.data.readers._tables import Table
from ltmed.data.readers._text import shortened
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
"""What the columns may be called, first match first; case, blanks, `_`, `-` and `.` do not matter. Groups: also `_ID`.
Attributes that are found without being chosen are in `ltmed.data.readers._attributes.NAMES`."""

_ID = re.compile(
    r"(anon(ymi[sz]ed)?|pseudo(nym(i[sz]ed)?)?|deid(entified)?|hashed|internal|public|original|orig|new|study|unique)?"
    r"(patients?|patienten|pat|pt|lesions?|subjects?|subj|participants?|persons?|individuals?|volunteers?|donors?|cases?)"
    r"(identifier|pseudonym|ids?|uid|uuid|nos?|nr|num|numbers?|nummer|names?|codes?|hash|keys?|index)(hash(ed)?|anon)?"
)
"""Other names of columns of ids, as `squashed` leaves them: `anon_patient_id`, `PatNr`, `lesion_code`."""
LISTS = ("image", "group", "attribute")
"""Roles that several columns may have."""

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
        named = {role: " and ".join(name for name in names if name) for role, names in roles.items()}
        return ", ".join(f"{role} {names}" for role, names in named.items() if names)


def chosen_columns(columns: Mapping[str, Any] | None) -> dict[str, list[str]]:
    """`dataset.columns` as role -> names of columns, without the roles that are null.

    Raises:
        UserError: a role that does not exist; several columns for a role that has one.
    """
    chosen: dict[str, list[str]] = {}
    for role, given in (columns or {}).items():
        if role not in ALIASES:
            raise UserError(f"dataset.columns has no role '{role}'", suggest(str(role), ALIASES))
        names = [given] if isinstance(given, (str, int, float)) else list(given or ())
        if len(names) > 1 and role not in LISTS:
            raise UserError(f"dataset.columns.{role} names {len(names)} columns", "It takes one.")
        if names:
            chosen[role] = [str(name) for name in names]
    return chosen


def find_roles(table: Table, chosen: Mapping[str, Sequence[str]], *, onehot: bool) -> Roles:
    """Finds the column of every role in one table.

    Args:
        table: as `read_table` gives it.
        chosen: as `chosen_columns` gives it; these come before `ALIASES`.
        onehot: labels are in columns of their own, so that no column of labels is needed.

    Raises:
        UserError: a column of images or labels is missing, or one that was chosen.
    """
    plain: dict[str, list[str]] = {}
    for name in table:
        plain.setdefault(squashed(name), []).append(name)

    def find(role: str) -> list[str]:
        if role in chosen:
            return [_chosen(table, plain, role, name) for name in chosen[role]]
        found = [name for alias in ALIASES[role] for name in plain.get(squashed(alias), ())]
        if role == "group":
            return found + [name for name in table if name not in found and _ID.fullmatch(squashed(name))]
        return found[:1]

    images, labels, parts = find("image"), [] if onehot else find("label"), find("part")
    for role, found in (("image", images), ("label", labels)):
        if not found and not (role == "label" and onehot):
            raise _missing(table, role)
    if "part" not in chosen and parts and squashed(parts[0]) not in _SURE_PARTS and not _are_parts(table[parts[0]]):
        parts = []
    if "label" not in chosen and labels:
        _warn_of_other_labels(table, plain, labels[0])
    label, part, fold, source = (_first(found) for found in (labels, parts, find("fold"), find("source")))
    taken = (*images, label, part, fold, source)
    groups = [name for name in dict.fromkeys(find("group")) if name not in taken]
    further = attribute_columns(table, (*taken, *groups), find("attribute"))
    return Roles(images, label, groups, part, fold, source, further)


def _first(names: Sequence[str]) -> str | None:
    return names[0] if names else None


def _chosen(table: Table, plain: Mapping[str, Sequence[str]], role: str, given: str) -> str:
    name = given.strip().lower()
    if name in table:
        return name
    alike = plain.get(squashed(given), ())
    if len(alike) == 1:
        return alike[0]
    raise UserError(f"{table.path} has no column '{given}' (dataset.columns.{role})", suggest(name, table))


def _missing(table: Table, role: str) -> UserError:
    names = [name for name in table if name]
    some = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    hint = f"It has {some}; say dataset.columns.{role}=NAME, or rename one."
    if any(name.endswith(EXTENSIONS) for name in names):
        hint = f"Its first line seems to hold data ({', '.join(names)[:120]}): write a header above it, 'image,label'."
    elif role == "label":
        binary = [name for name in names if set(table[name]) <= {"0", "1", "0.0", "1.0"}]
        if len(binary) > 1:
            hint = f'For one column of 0 and 1 per class say "dataset.label_columns=[{",".join(binary)}]". {hint}'
    return UserError(f"{table.path} has no column '{role}'", hint)


def _are_parts(cells: Sequence[str]) -> bool:
    words = set(cells) - {""}
    return bool(words) and all(part_named(word) for word in words)


def _warn_of_other_labels(table: Table, plain: Mapping[str, Sequence[str]], label: str) -> None:
    """Warns where a second column could be meant and divides the images in another way."""
    cells = table[label]
    for alias in ALIASES["label"]:
        for name in plain.get(squashed(alias), ()):
            if name == label:
                continue
            others = table[name]
            pairs = len(set(zip(cells, others, strict=True)))
            if 1 < len(set(others)) <= max(len(cells) // 2, 2) and not pairs == len(set(cells)) == len(set(others)):
                warnings.warn(
                    f"{table.path}: labels are taken from the column '{label}' ({shortened(dict.fromkeys(cells), 3)}); "
                    f"'{name}' ({shortened(dict.fromkeys(others), 3)}) divides the images otherwise: "
                    f"dataset.columns.label={_quoted(name)} takes that one",
                    stacklevel=5,
                )
                return


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[\w.-]+", name) else f"\"'{name}'\""
