"""What a data set holds and what is wrong with it, in lines of text; those that deserve attention begin with `!`.

Each function is one section. K classes; lists of classes and files are cut to fit all sections on one screen, unless
`everything` is asked for.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ltmed.data.audit import several
from ltmed.data.audit.copies import Copies, of_one_colour
from ltmed.data.audit.problems import compare_counts, confounding, unlisted
from ltmed.data.cache.intensity import RANGE
from ltmed.data.manifest import Manifest, count_labels
from ltmed.data.splits.protocols import Split
from ltmed.errors import UserError

if TYPE_CHECKING:
    from ltmed.data.audit.contents import Contents

MOST_CLASSES, MOST_SOURCES, MOST_FILES = 12, 4, 2
_LARGEST, _SMALLEST = 3, 5
_PARTS = ("train", "val", "test")


def classes(manifest: Manifest, known: tuple[int, ...], *, everything: bool = False) -> list[str]:
    """Images per class, beside groups, own parts, published counts and sources, and how imbalanced they are."""
    counts, number = manifest.counts, len(manifest.classes)
    least = int(counts[counts > 0].min(initial=len(manifest)))
    head, columns = ["class", "images"], [[f"{count:,}" for count in counts.tolist()]]
    if manifest.multilabel:
        head, columns = several.columns(manifest)
    if manifest.groups is not None:
        head.append(f"{manifest.group_name}s")
        columns.append([f"{count:,}" for count in np.bincount(_pairs(manifest)[1], minlength=number).tolist()])
    if manifest.parts is not None:
        for part in _PARTS:
            head.append(f"own {part}")
            inside = count_labels(manifest.labels[manifest.parts == part], number)
            columns.append([f"{count:,}" for count in inside.tolist()])
    difference = compare_counts(manifest, known) if len(known) == number else np.zeros(0, np.int64)
    if len(difference):
        head.append("against published")
        columns.append([f"{count:+,}" if count else "=" for count in difference.tolist()])
    found = confounding(manifest)
    if found is not None and len(found[0]) <= MOST_SOURCES:
        head += [f"from {name or '(none)'}" for name in found[0]]
        columns += [[f"{count:,}" for count in column] for column in found[1].T.tolist()]
    rows = [[code, *cells] for code, *cells in zip(manifest.classes, *columns, strict=True)]
    lines = [
        f"{manifest.name} in {manifest.root}: {len(manifest):,} images, {number} "
        f"{'labels' if manifest.multilabel else 'classes'}, imbalance "
        f"{counts.max() / least:.1f} : 1",
        *table([head, *(rows if everything else _longest_and_shortest(rows, counts))]),
    ]
    if manifest.multilabel:
        lines += several.describe(manifest)
    if empty := [code for code, count in zip(manifest.classes, counts, strict=True) if not count]:
        lines.append(f"! no image of {_named(empty)}")
    if difference.any():
        lines.append("! the images per class are not the published ones: another copy, or not all of it")
    return lines


def groups(manifest: Manifest) -> list[str]:
    """How images belong together, and what the reader said about that."""
    unit = manifest.group_name
    # A reader may say more about how it read the data, for instance which columns the groups come from.
    notes = [str(note) for note in getattr(manifest, "notes", ())]
    if manifest.groups is None:
        return [f"! no {unit} ids: images of one {unit} may be in training and test part, and nobody can tell", *notes]
    sizes = np.bincount(np.unique(manifest.groups, return_inverse=True)[1])
    repeated = sizes[sizes > 1]
    of_several = f"{len(repeated):,} have several images ({repeated.sum():,} in all, at most {sizes.max()})"
    lines = [f"{len(sizes):,} {unit}s; {of_several}", *notes]
    if manifest.multilabel:
        return [*lines, *several.flags_of_groups(manifest)]
    if mixed := int((np.bincount(_pairs(manifest)[0]) > 1).sum()):
        lines.append(f"! {mixed:,} {unit}s have images of more than one class")
    return lines


def left_out(manifest: Manifest, said: Sequence[str]) -> list[str]:
    """Files below the root that are not part of the data set, and what the reader warned of."""
    images, others, first = unlisted(manifest)
    lines = []
    if images:
        lines.append(
            f"! {images.total():,} image files below the folder are left out ({_amounts(images)}), the first is {first}"
        )
    if others:
        lines.append(f"{others.total():,} other files are below the folder ({_amounts(others)})")
    return [*lines, *(f"! {text}" for text in dict.fromkeys(said))]


def files(manifest: Manifest, contents: Contents, image_size: int, *, everything: bool = False) -> list[str]:
    """Which files cannot be decoded, and the sizes and depths of the others."""
    lines = [f"{'! ' if contents.bad else ''}{len(contents.bad):,} images cannot be read"]
    lines += first_lines([f"{manifest.images[row]}: {reason}" for row, reason in contents.bad], everything)
    good = np.array([bool(by) for by in contents.scaled_by])
    if not good.any():
        return lines
    sides, times = np.unique(contents.sides[good], axis=0, return_counts=True)
    said = [f"{width} x {height}" for height, width in sides.tolist()]
    if len(said) > 1:
        area, most = sides.prod(axis=1), int(times.argmax())
        smallest, largest = said[int(area.argmin())], said[int(area.argmax())]
        span = f"{smallest} to {largest} (width x height), {len(said):,} different, most often {said[most]}"
        lines.append(f"sizes: {span} ({times[most]:,} images)")
    else:
        lines.append(f"size of all images: {said[0]} (width x height)")
    small = int((contents.sides[good].min(axis=1) < image_size).sum())
    if small:
        lines.append(f"! {small:,} images are smaller than image_size={image_size} in one direction and are enlarged")
    return [*lines, *_depths(contents, good), *_nothing(manifest, contents, good, everything)]


def copies(manifest: Manifest, found: Copies, *, everything: bool = False) -> list[str]:
    """Equal files and images that look alike, and those among them that have different classes or groups."""
    equal, alike = found.equal(), found.looking_alike()
    lines = [f"{'! ' if equal else ''}{found.repeated:,} images are exact copies of another one"]
    lines += first_lines([" = ".join(manifest.images[row] for row in rows[:4]) for rows in equal], everything)
    if differing := _differing(manifest.labels, equal):
        lines.append(f"! {len(differing):,} of these files have different labels:")
        lines += first_lines([", ".join(_labelled(manifest, rows)) for rows in differing], everything)
    if alike:
        description = "images look like another one (compressed, resized, mirrored or turned)"
        lines.append(f"! {len(np.unique(np.concatenate(alike))):,} {description}, in {len(alike):,} sets")
        lines += first_lines([" ~ ".join(manifest.images[row] for row in rows[:4]) for rows in alike], everything)
        if different := len(_differing(manifest.labels, alike)):
            lines.append(f"! {different:,} of these sets have different labels")
    if manifest.groups is not None and (apart := len(_differing(manifest.groups, [*equal, *alike]))):
        lines.append(f"! {apart:,} sets of copies are in several {manifest.group_name}s: split=grouped may divide them")
    return lines


def splits(manifest: Manifest, protocols: Iterable[tuple[str, Callable[[], Split]]], found: Copies | None) -> list[str]:
    """What every protocol makes of the data: sizes, classes that a part lacks, leakage, copies on both sides.

    Args:
        manifest: the images.
        protocols: title and division, the chosen one first.
        found: the copies among the images, if their files were read.
    """
    rows = [["split", "hash", *_PARTS, "rarest\nin test", "classes\nnot in\nval", "not in\ntest"]]
    rows[0].append(f"test images\nof a {manifest.group_name}\nin train")
    rows[0] += [] if found is None else ["copied\nin train", "alike\nin train"]
    notes: list[str] = []
    shown: set[tuple[str, str]] = set()
    for place, (title, divide) in enumerate(protocols):
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                split = divide()
        except UserError as error:
            notes += [] if place else [f"! {title}: {error}"]
            continue
        notes += [] if place else [f"! {title}: {one.message}" for one in caught]
        digest = split.digest(manifest)
        if (split.name, digest) in shown:
            continue
        shown.add((split.name, digest))
        counts, leak = split.counts(manifest)["test"], split.leakage(manifest)
        lacking = {part: split.absent(manifest, part) for part in ("val", "test")}
        rarest = int(counts.argmin())
        row = [
            title if place else f"{title}: {split.name}",
            digest,
            *(f"{len(rows):,}" for rows in split.parts.values()),
        ]
        row += [f"{manifest.classes[rarest]} {counts[rarest]:,}", *(f"{len(absent):,}" for absent in lacking.values())]
        row.append("unknown" if leak is None else f"{leak['leaking']:,} ({leak['fraction']:.1%})")
        across = () if found is None else found.across(split)
        rows.append([*row, *(f"{number:,}" for number in across)])
        if not place and sum(across):
            notes.append(f"! {title}: {sum(across):,} test images have a copy in the training part")
        if len(untrained := np.flatnonzero(split.counts(manifest)["train"] == 0)):
            notes.append(f"! {title}: no training image of {_named([manifest.classes[k] for k in untrained])}")
        for part, absent in lacking.items() if not place else ():
            if len(absent):
                names = _named([manifest.classes[k] for k in absent])
                trained = len(manifest.classes) - len(untrained)
                name = "validation" if part == "val" else "test"
                notes.append(f"! {title}: {len(absent):,} of {trained:,} classes have no {name} image ({names})")
    return [*table(rows), *notes]


def sources(manifest: Manifest) -> list[str]:
    """How far the source of an image tells its class."""
    found = confounding(manifest)
    if found is None:
        return []
    names, counts, strength = found
    subject = "any label" if manifest.multilabel else "class"
    lines = [f"{len(names):,} sources; of {subject} and source Cramer's V {strength:.2f} (0 independent, 1 determined)"]
    single = [code for code, line in zip(manifest.classes, counts, strict=True) if (line > 0).sum() == 1]
    if single and len(names) > 1:
        lines.append(f"! from one source only, so that the source may be learned in its place: {_named(single)}")
    return lines


def table(rows: list[list[str]]) -> list[str]:
    """Aligned columns, the first to the left; cells of the head may have several lines."""
    height = max(cell.count("\n") for cell in rows[0]) + 1
    split = [cell.split("\n") for cell in rows[0]]
    head = [[*[""] * (height - len(cell)), *cell] for cell in split]
    rows = [*(list(line) for line in zip(*head, strict=True)), *rows[1:]]
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    cells = [[cell.rjust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    return ["  ".join([row[0].strip().ljust(widths[0]), *row[1:]]).rstrip() for row in cells]


def first_lines(lines: list[str], everything: bool) -> list[str]:
    """The lines, indented; only the first few unless `everything` is asked for."""
    if everything or len(lines) <= MOST_FILES:
        return [f"  {line}" for line in lines]
    return [*(f"  {line}" for line in lines[: MOST_FILES - 1]), f"  {lines[MOST_FILES - 1]}, ... (--all)"]


def _longest_and_shortest(rows: list[list[str]], counts: np.ndarray) -> list[list[str]]:
    """The rows of the classes with most and with fewest images, by falling number, where they are many."""
    if len(rows) <= MOST_CLASSES:
        return rows
    order = np.argsort(-counts, kind="stable").tolist()
    between = [f"({len(rows) - _LARGEST - _SMALLEST} more)", *[""] * (len(rows[0]) - 1)]
    return [*(rows[k] for k in order[:_LARGEST]), between, *(rows[k] for k in order[-_SMALLEST:])]


def _depths(contents: Contents, good: np.ndarray) -> list[str]:
    """Bits, values in use, and what makes eight bits of them."""
    bits, by = contents.bits[good], np.array(contents.scaled_by)[good]
    kinds = Counter(zip(bits.tolist(), by.tolist(), strict=True)).most_common()
    said = []
    for (depth, scaled_by), number in kinds:
        values = contents.extremes[good][(bits == depth) & (by == scaled_by)]
        span = "" if np.isnan(values).any() else f" with values {_number(values.min())} to {_number(values.max())}"
        said.append(f"{depth} bits{span}, {scaled_by}" + (f" ({number:,} images)" if len(kinds) > 1 else ""))
    lines = [f"{'! ' if len(kinds) > 1 else ''}depth: {'; '.join(said)}"]
    relative = contents.extremes[good][by == RANGE]
    if len(relative):
        span = f"[{_number(relative.min(), '')},{_number(relative.max(), '')}]"
        lines.append(
            f"! {len(relative):,} images are scaled each for itself; dataset.intensity={span} scales all alike"
        )
    return lines


def _nothing(manifest: Manifest, contents: Contents, good: np.ndarray, everything: bool) -> list[str]:
    plain = np.flatnonzero(of_one_colour(contents.looks) & good)
    names = [manifest.images[row] for row in plain.tolist()]
    return [f"! {len(names):,} images are of one colour", *first_lines(names, everything)] if names else []


def _pairs(manifest: Manifest) -> tuple[np.ndarray, np.ndarray]:
    """Group, from 0, and class of every image (and label that it has), each pair once: int64 `[P]` twice."""
    assert manifest.groups is not None
    numbers, labels = np.unique(manifest.groups, return_inverse=True)[1], manifest.labels
    if manifest.multilabel:
        rows, labels = np.nonzero(labels == 1)
        numbers = numbers[rows]
    pairs = np.unique(numbers * len(manifest.classes) + labels)
    return np.divmod(pairs, len(manifest.classes))


def _differing(values: np.ndarray, sets: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The sets whose rows have different values; of targets `[N, K]` two that are both known."""
    if values.ndim == 2:
        return [
            rows for rows in sets if (np.nanmax(t := values[rows], 0, initial=0) > np.nanmin(t, 0, initial=1)).any()
        ]
    return [rows for rows in sets if len(np.unique(values[rows])) > 1]


def _labelled(manifest: Manifest, rows: np.ndarray) -> list[str]:
    codes = zip(rows.tolist(), manifest.codes(rows), strict=True)
    return [f"{manifest.images[row]} {code or '(no label)'}" for row, code in codes]


def _named(names: Sequence[str], most: int = 10) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")


def _amounts(kinds: Counter[str], most: int = 4) -> str:
    return _named([f"{number:,} {kind}" for kind, number in kinds.most_common()], most)


def _number(value: float, group: str = ",") -> str:
    return format(int(value), group) if value == int(value) else f"{value:g}"
