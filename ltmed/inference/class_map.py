"""Which class of a run each class of another data set is: by its code, or as a file says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ltmed.errors import UserError, suggest

OTHER, DROP = -1, -2
"""In place of a class: images of none of the run's classes, and images that are left out."""
_SPECIAL = {"other": OTHER, "drop": DROP}


@dataclass(frozen=True)
class ClassMap:
    """From the J classes of another data set to the K classes of a run."""

    targets: np.ndarray
    """int64 `[J]`: index of the run's class, or `OTHER`, or `DROP`."""
    described: dict[str, list[str]]
    """Class of the run (or "other", "drop") -> classes of the other data set, those that have any."""


def read_map(file: Path) -> dict[str, list[str]]:
    """Reads a map of classes: YAML, `class of the run: [classes of the other data set]`, also `other` and `drop`.

    Raises:
        UserError: no file, or not such a map.
    """
    import yaml

    hint = "One line for each class of the run, for instance 'AKIEC: [AK, SCC]', and 'drop: [UNK]' or 'other: [UNK]'."
    try:
        found: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"map={file} cannot be read: {error.strerror or error}", hint) from None
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"map={file} is no YAML: {' '.join(str(error).split())}", hint) from None
    if not isinstance(found, dict) or not found:
        raise UserError(f"map={file} is no map of classes", hint)
    return {str(key): [str(code) for code in _listed(value)] for key, value in found.items()}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def match(
    classes: Sequence[str],
    names: Sequence[str],
    theirs: Sequence[str],
    their_names: Sequence[str],
    given: Mapping[str, Sequence[str]] | None = None,
    *,
    multilabel: bool = False,
) -> ClassMap:
    """Finds the class of a run for each class of another data set.

    What a map lists goes where it says. The rest is matched by code and then by full name, both without regard to case.
    A class of the run that is called `other` or `drop` takes precedence over the meaning of these words.

    Args:
        classes: K codes of the run.
        names: K full names.
        theirs: J codes of the other data set.
        their_names: J full names.
        given: from `read_map`; None matches by code and name alone.
        multilabel: whether images carry several labels, of which none is `other`.

    Raises:
        UserError: the map names a class that neither side has, or one class twice, or `other` of several
            labels; a class of the other data set has no class of the run.
    """
    number = {code.casefold(): place for place, code in reversed(list(enumerate(classes)))}
    their_number = {code.casefold(): place for place, code in reversed(list(enumerate(theirs)))}
    targets: dict[int, int] = {}
    for key, codes in (given or {}).items():
        target = number.get(key.casefold(), _SPECIAL.get(key.casefold()))
        if target is None:
            raise UserError(f"The map names '{key}', which is no class of the run", suggest(key, [*classes, *_SPECIAL]))
        if target == OTHER and multilabel:
            raise UserError(
                "'other' in the map is for images of none of the classes, and here images carry several labels",
                "A label that the run does not know is left out with 'drop: [LABEL]'.",
            )
        for code in codes:
            place = their_number.get(code.casefold())
            if place is None:
                raise UserError(f"The map names '{code}', which is no class of the data set", suggest(code, theirs))
            if place in targets:
                raise UserError(f"The map names '{code}' twice", "Each class of the data set has one place.")
            targets[place] = target
    full = {name.casefold(): place for place, name in reversed(list(enumerate(names)))}
    for place, (code, name) in enumerate(zip(theirs, their_names, strict=True)):
        known = number.get(code.casefold(), full.get(name.casefold()))
        if place not in targets and known is not None:
            targets[place] = known
    missing = [code for place, code in enumerate(theirs) if place not in targets]
    if missing:
        raise UserError(
            f"The run has no class for {', '.join(missing)} (its classes: {', '.join(classes)})",
            f"Say where they belong with map=FILE, a YAML file: '{classes[0]}: [{missing[0]}]', 'drop: [{missing[0]}]' "
            "to leave them out"
            + ("." if multilabel else f", or 'other: [{missing[0]}]' for images of none of the run's classes."),
        )
    found = np.array([targets[place] for place in range(len(theirs))], dtype=np.int64)
    keys = [*enumerate(classes), (OTHER, "other"), (DROP, "drop")]
    described = {key: [theirs[place] for place in np.flatnonzero(found == target).tolist()] for target, key in keys}
    return ClassMap(found, {key: codes for key, codes in described.items() if codes})
