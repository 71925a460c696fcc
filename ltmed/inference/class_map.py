"""Maps the classes of another data set to those of a run: by their codes, or by a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ltmed.errors import UserError, suggest
from ltmed.utils.text_yaml import read_yaml

OTHER, DROP = -1, -2
"""In place of a class: images of none of the run's classes, and images that are left out."""
_SPECIAL = {"other": OTHER, "drop": DROP}


@dataclass(frozen=True)
class ClassMap:
    """From the J classes of another data set to the K classes of a run."""

    targets: np.ndarray
    """int64 `[J]`: index of the run's class, or `OTHER`, or `DROP`."""
    assigned: dict[str, list[str]]
    """Class of the run (or "other", "drop") -> classes of the other data set, those that have any."""


def read_map(file: Path) -> dict[str, list[str]]:
    """Reads a map of classes: YAML, `class of the run: [classes of the other data set]`, also `other` and `drop`.

    Codes are text as written, without quotes too: 01, No.

    Raises:
        UserError: no file, not such a map, or a class of the run with two lines.
    """
    hint = "One line for each class of the run, for instance 'AKIEC: [AK, SCC]', and 'drop: [UNK]' or 'other: [UNK]'."
    content = read_yaml(file, f"map={file}", hint)
    if not isinstance(content, dict) or not content:
        raise UserError(f"map={file} is no map of classes", hint)
    listed = {key: _listed(value) for key, value in content.items()}
    for key, codes in listed.items():
        if not all(isinstance(code, str) for code in codes):
            raise UserError(f"map={file}: '{key}' has no list of classes", hint)
    return listed


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value] if value else []


def match(
    classes: Sequence[str],
    names: Sequence[str],
    other_classes: Sequence[str],
    other_names: Sequence[str],
    mapping: Mapping[str, Sequence[str]] | None = None,
    *,
    multilabel: bool = False,
    needed: Sequence[bool] | None = None,
) -> ClassMap:
    """Finds the class of a run for each class of another data set.

    Classes that the map lists are mapped by it, the rest by code and then by full name, both without regard to case.
    A class of the run that is called `other` or `drop` takes precedence over the meaning of these words.

    Args:
        classes: K codes of the run.
        names: K full names.
        other_classes: J codes of the other data set.
        other_names: J full names.
        mapping: from `read_map`; None matches by code and name alone.
        multilabel: whether images carry several labels, of which none is `other`.
        needed: J, whether a class must have a class of the run, `other` or `drop`; None for all. Others that have
            none are dropped.

    Raises:
        UserError: the map names a class that neither side has, or one class twice, or `other` of several
            labels; a class of the other data set that needs a class of the run has none, or has the code of one and the
            name of another.
    """
    index = {code.casefold(): k for k, code in reversed(list(enumerate(classes)))}
    other_index = {code.casefold(): j for j, code in reversed(list(enumerate(other_classes)))}
    targets: dict[int, int] = {}
    for key, codes in (mapping or {}).items():
        target = index.get(key.casefold(), _SPECIAL.get(key.casefold()))
        if target is None:
            raise UserError(f"The map names '{key}', which is no class of the run", suggest(key, [*classes, *_SPECIAL]))
        if target == OTHER and multilabel:
            raise UserError(
                "'other' in the map is for images of none of the classes, and here images carry several labels",
                "A label that the run does not know is left out with 'drop: [LABEL]'.",
            )
        for code in codes:
            j = other_index.get(code.casefold())
            if j is None:
                raise UserError(
                    f"The map names '{code}', which is no class of the data set", suggest(code, other_classes)
                )
            if j in targets:
                raise UserError(f"The map names '{code}' twice", "Each class of the data set has one place.")
            targets[j] = target
    index_by_name = {name.casefold(): k for k, name in reversed(list(enumerate(names)))}
    for j, (code, name) in enumerate(zip(other_classes, other_names, strict=True)):
        by_code, by_name = index.get(code.casefold()), index_by_name.get(name.casefold())
        target = by_name if by_code is None else by_code
        if j in targets or target is None:
            continue
        # A name that only repeats the code says nothing more.
        if by_name is not None and by_name != target and name.casefold() != code.casefold():
            raise UserError(
                f"'{code}' of the data set is called '{name}', which is the name of another class of the run than its "
                f"'{code}'",
                f"Say with map=FILE, a YAML file, which class it is, for instance '{classes[by_name]}: [{code}]'.",
            )
        targets[j] = target
    missing = [code for j, code in enumerate(other_classes) if j not in targets and (needed is None or needed[j])]
    if missing:
        raise UserError(
            f"The run has no class for {', '.join(missing)} (its classes: {', '.join(classes)})",
            f"Say where they belong with map=FILE, a YAML file: '{classes[0]}: [{missing[0]}]', 'drop: [{missing[0]}]' "
            "to leave them out"
            + ("." if multilabel else f", or 'other: [{missing[0]}]' for images of none of the run's classes."),
        )
    indices = np.array([targets.get(j, DROP) for j in range(len(other_classes))], dtype=np.int64)
    keys = [*enumerate(classes), (OTHER, "other"), (DROP, "drop")]
    assigned = {key: [other_classes[j] for j in sorted(targets) if targets[j] == target] for target, key in keys}
    return ClassMap(indices, {key: codes for key, codes in assigned.items() if codes})
