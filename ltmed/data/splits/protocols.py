"""Training, validation and test parts: group-disjoint (default), by image as in papers, or the data set's own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from ltmed.data.manifest import Manifest, count_labels
from ltmed.data.splits.apportion import apportion, groups_per_class, reach_all_classes
from ltmed.errors import UserError, suggest
from ltmed.utils.seeding import derive

PARTS = ("train", "val", "test")


@dataclass(frozen=True, eq=False)
class Split:
    """Training, validation and test rows of a manifest; rows in no part are unused."""

    name: str
    """The protocol: "grouped", "random", "official", "file", ..."""
    train: np.ndarray
    """int64 `[n]`, sorted rows of the manifest; so are the other two."""
    val: np.ndarray
    test: np.ndarray

    @property
    def parts(self) -> dict[str, np.ndarray]:
        """The three arrays by name, in the order train, val, test."""
        return {part: getattr(self, part) for part in PARTS}

    def without(self, rows: Iterable[int]) -> Split:
        """The same split without `rows` (images that cannot be decoded)."""
        bad = np.fromiter(rows, dtype=np.int64)
        return replace(
            self, **{part: rows_of_part[~np.isin(rows_of_part, bad)] for part, rows_of_part in self.parts.items()}
        )

    def counts(self, manifest: Manifest) -> dict[str, np.ndarray]:
        """int64 `[K]` images per class (positives per label), for each part."""
        number = len(manifest.classes)
        return {part: count_labels(manifest.labels[rows], number) for part, rows in self.parts.items()}

    def digest(self, manifest: Manifest) -> str:
        """12 hex characters that identify this split: a hash over the sorted lines "part image label[|label ...]".

        Images are named without folder and extension if that is unique, so that it does not depend on the layout.
        """
        names = names_without_layout(manifest.images)
        lines: list[str] = []
        for part, rows in self.parts.items():
            pairs = zip(rows.tolist(), manifest.codes(rows), strict=True)
            lines += [f"{part} {names[row]} {codes}\n" for row, codes in pairs]
        return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()[:12]

    def leakage(self, manifest: Manifest) -> dict[str, Any] | None:
        """Test images whose group (lesion, patient) also has an image in the training part.

        Returns:
            None where the data set has no groups, else `images` (test images), `leaking` (how many of them),
            `fraction` (in [0, 1]; 0 for an empty test part) and `per_class` (class code -> `images`, `leaking`).
        """
        if manifest.groups is None:
            return None
        leaks = np.isin(manifest.groups[self.test], manifest.groups[self.train])
        labels, number = manifest.labels[self.test], len(manifest.classes)
        images, leaking = count_labels(labels, number), count_labels(labels[leaks], number)
        return {
            "images": len(leaks),
            "leaking": int(leaks.sum()),
            "fraction": float(leaks.mean()) if len(leaks) else 0.0,
            "per_class": {
                code: {"images": int(total), "leaking": int(part)}
                for code, total, part in zip(manifest.classes, images, leaking, strict=True)
            },
        }

    def absent(self, manifest: Manifest, part: str) -> np.ndarray:
        """Classes with training images but no image in `part`; int64 indices."""
        counts = self.counts(manifest)
        return np.flatnonzero((counts["train"] > 0) & (counts[part] == 0))

    def describe(self, manifest: Manifest) -> str:
        """A table of images per class and part, and one line with protocol, digest and leakage."""
        parts, labels = self.counts(manifest).values(), manifest.labels
        rows = [["class", *PARTS]]
        rows += [[code, *(f"{part[index]:,}" for part in parts)] for index, code in enumerate(manifest.classes)]
        if manifest.multilabel:
            without = [(~(labels[part] == 1).any(axis=1)).sum() for part in self.parts.values()]
            rows.append(["(none)", *(f"{number:,}" for number in without)])
        rows += [["total", *(f"{len(part):,}" for part in self.parts.values())]]
        width = max(len(row[0]) for row in rows)
        table = [row[0].ljust(width) + "".join(cell.rjust(9) for cell in row[1:]) for row in rows]
        leak, unused = self.leakage(manifest), len(manifest) - sum(map(len, self.parts.values()))
        line = f"split {self.name} {self.digest(manifest)}: no {manifest.group_name} ids, so leakage is unknown"
        if leak is not None:
            shared = f"share a {manifest.group_name} with a training image"
            line = f"split {self.name} {self.digest(manifest)}: {leak['fraction']:.1%} of the test images {shared}"
        return "\n".join([*table, line + (f"; {unused:,} images unused" if unused else "")])


def grouped(
    manifest: Manifest,
    fold: int,
    *,
    folds: int = 5,
    test: float | None = None,
    val: float = 0.1,
    seed: int = 0,
    val_seed: int | None = None,
    pool: str = "train",
) -> Split:
    """Splits by group, stratified by class: no lesion (patient) has images in two parts.

    The rule is in `ltmed.data.splits.apportion`. Every class of at least three groups, two of them outside the test
    part, has a validation group, even if that is more than its share.

    Args:
        manifest: the images.
        fold: which fold is the test part.
        folds: number of outer folds, each of them the test part once.
        test: instead of folds, one hold-out with this fraction of the images; only fold 0 exists then.
        val: fraction of the images outside the test part in the validation part, by the same rule.
        seed: of the split, independent of the seed of the run, so that runs can be compared.
        val_seed: of the validation part only, with the same test part; None for `seed`.
        pool: "train" leaves a data set's own validation and test images unused, "all" splits them as well.

    Raises:
        UserError: no groups, a fold that does not exist, a fraction outside (0, 1), a part without images.
    """
    if manifest.groups is None:
        need = f"Add {manifest.group_source}, or use" if manifest.group_source else "Use"
        raise UserError(
            f"split=grouped needs {manifest.group_name} ids, and {manifest.name} in {manifest.root} has none",
            f"{need} split=random (per image: images of one {manifest.group_name} may be in train and test).",
        )
    return _divide("grouped", manifest, manifest.groups, fold, folds, test, val, (seed, val_seed), pool)


def random(
    manifest: Manifest,
    fold: int,
    *,
    folds: int = 5,
    test: float | None = None,
    val: float = 0.1,
    seed: int = 0,
    val_seed: int | None = None,
    pool: str = "train",
) -> Split:
    """Splits by image, stratified by class, as most papers do: images of one lesion may be in train and test.

    Arguments, result and errors are those of `grouped`, except that no groups are needed.
    """
    return _divide("random", manifest, np.arange(len(manifest)), fold, folds, test, val, (seed, val_seed), pool)


def official(
    manifest: Manifest, fold: int, name: str = "official", *, val: float | None = None, seed: int = 0
) -> Split:
    """The parts, or the cross-validation folds, of the data set itself.

    Where it has both, the folds divide its training images alone: a test image is never trained on.

    Args:
        manifest: the images.
        fold: which of the data set's own folds is the test part, or the validation part beside a test part of its own;
            0 where it has no folds.
        name: name of the split in messages and results.
        val: None uses the data set's own validation part, or a tenth of the training images (by group where groups
            are known) if it has none. A fraction of the training images always replaces it.
        seed: of the validation part.

    Raises:
        UserError: the data set has no parts of its own, or no such fold; parts and folds that contradict each other; a
            part has no images.
    """
    parts, number = _own_parts(manifest, fold)
    _check_fold(name, fold, number)
    train, validation = np.flatnonzero(parts == "train"), np.flatnonzero(parts == "val")
    if val is not None or not len(validation):
        groups = np.arange(len(manifest)) if manifest.groups is None else manifest.groups
        share = 0.1 if val is None else val
        train, validation = _choose(manifest, groups, train, np.flatnonzero(parts != ""), share, seed, fold)
    return _checked(Split(name, train, validation, np.flatnonzero(parts == "test")), manifest)


def _own_parts(manifest: Manifest, fold: int) -> tuple[np.ndarray, int]:
    """The part of every image where `fold` is held out, str `[N]`, and the number of folds."""
    parts, folds = manifest.parts, manifest.folds
    if parts is None and folds is None:
        raise UserError(
            f"{manifest.name} in {manifest.root} has no parts of its own, which split=official needs",
            "Use split=grouped or split=random.",
        )
    if folds is None:
        return np.asarray(parts), 1
    parts = np.where(folds >= 0, "train", "") if parts is None else parts
    training, tested = parts == "train", bool(np.any(parts == "test"))
    number = int(folds[training].max(initial=-1)) + 1
    without = sorted({*range(max(number, 1))} - {*folds[training].tolist()})
    if without or (tested and np.any(parts == "val")):
        problem = f"fold {without[0]} has no image of the part train" if without else "both say which images validate"
        raise UserError(
            f"the parts and the folds of {manifest.name} in {manifest.root} are two divisions of the images: {problem}",
            "Choose one: dataset.columns.fold=[] leaves the folds out, dataset.columns.part=[] the parts.",
        )
    return np.where(training & (folds == fold), "val" if tested else "test", parts), number


@lru_cache(maxsize=2)
def names_without_layout(images: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the images in a digest: lower-case names without folder and extension if unique, else paths."""
    names = []
    for image in images:
        name = image.rpartition("/")[2].lower()
        dot = name.rfind(".")
        names.append(name[:dot] if 0 < dot < len(name) - 1 else name)
    return tuple(names) if len(set(names)) == len(names) else images


def _divide(
    name: str,
    manifest: Manifest,
    groups: np.ndarray,
    fold: int,
    folds: int,
    test: float | None,
    val: float,
    seeds: tuple[int, int | None],
    pool: str,
) -> Split:
    """The nested split of the pool: test fold (or hold-out) first, then validation images from the rest."""
    if pool not in ("train", "all"):
        raise UserError(f"split.pool={pool} does not exist", suggest(pool, ("train", "all")))
    rows = np.arange(len(manifest))
    if manifest.parts is not None:
        rows = np.flatnonzero(manifest.parts == "train" if pool == "train" else manifest.parts != "")
    if test is None:
        if folds < 2:
            raise UserError(f"split.folds={folds} leaves nothing to train on", "Use at least 2, or split.test=0.2.")
        _check_fold(name, fold, folds)
        fold_of = apportion(manifest.labels[rows], groups[rows], [1 / folds] * folds, derive("split", seeds[0]))
        rest, test_rows = rows[fold_of != fold], rows[fold_of == fold]
    else:
        _check_fold(f"{name} with split.test={test}", fold, 1)
        in_test = _hold_out(manifest, groups, rows, test, "split.test", derive("split", seeds[0]))
        rest, test_rows = rows[~in_test], rows[in_test]
    train, validation = _choose(manifest, groups, rest, rows, val, seeds[0] if seeds[1] is None else seeds[1], fold)
    return _checked(Split(name, train, validation, test_rows), manifest)


def _choose(
    manifest: Manifest, groups: np.ndarray, rest: np.ndarray, rows: np.ndarray, share: float, seed: int, fold: int
) -> tuple[np.ndarray, np.ndarray]:
    """Splits `rest`, the rows outside the test part, into training and validation rows."""
    in_validation = _hold_out(manifest, groups, rest, share, "split.val", derive("split", seed, "val", fold))
    if not len(rest):
        return rest, rest
    group_counts = groups_per_class(manifest.labels[rows], groups[rows], len(manifest.classes))
    class_seed = derive("split", seed, "val", fold, "classes")
    in_validation = reach_all_classes(
        in_validation, manifest.labels[rest], groups[rest], share, class_seed, group_counts
    )
    return rest[~in_validation], rest[in_validation]


def _hold_out(
    manifest: Manifest, groups: np.ndarray, rows: np.ndarray, share: float | None, key: str, seed: int
) -> np.ndarray:
    """Mask of the fraction `share` of `rows` that is held out, bool."""
    if share is None or not 0 < share < 1:
        raise UserError(f"{key}={share} is not a fraction between 0 and 1", f"For instance {key}=0.2.")
    return apportion(manifest.labels[rows], groups[rows], [1 - share, share], seed) == 1


def _check_fold(name: str, fold: int, folds: int) -> None:
    if not 0 <= fold < folds:
        available = f"folds 0-{folds - 1}" if folds > 1 else "fold 0 only"
        raise UserError(f"fold {fold} is out of range: split={name} has {available}", "Set fold to one of them.")


def _checked(split: Split, manifest: Manifest) -> Split:
    for part in reversed(PARTS):
        if not len(split.parts[part]):
            raise UserError(
                f"split={split.name} has no {part} image of {manifest.name} in {manifest.root}",
                "Add the missing images, or change split, split.folds, split.test or split.val.",
            )
    return split
