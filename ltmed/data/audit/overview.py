"""Content and problems of a data set as lines of text; lines that need attention begin with `!`.

Each function is one section. K classes; lists of classes and files are truncated, so that all sections fit on one
screen, unless `everything` is set.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ltmed.data.audit import multilabel
from ltmed.data.audit.copies import Duplicates, is_uniform
from ltmed.data.audit.problems import compare_counts, confounding, unlisted
from ltmed.data.cache.intensity import RANGE
from ltmed.data.manifest import Manifest, count_labels
from ltmed.data.splits.protocols import Split
from ltmed.errors import UserError

if TYPE_CHECKING:
    from ltmed.data.audit.contents import Contents

MAX_CLASSES, MAX_SOURCES, MAX_FILES = 12, 4, 2
_LARGEST, _SMALLEST = 3, 5
_PARTS = ("train", "val", "test")


def classes(manifest: Manifest, published: tuple[int, ...], *, everything: bool = False) -> list[str]:
    """Images per class with groups, own parts, published counts and sources, and the imbalance ratio."""
    counts, number = manifest.counts, len(manifest.classes)
    smallest = int(counts[counts > 0].min(initial=len(manifest)))
    head, columns = ["class", "images"], [[f"{count:,}" for count in counts.tolist()]]
    if manifest.multilabel:
        head, columns = multilabel.columns(manifest)
    if manifest.groups is not None:
        head.append(f"{manifest.group_name}s")
        columns.append([f"{count:,}" for count in np.bincount(_pairs(manifest)[1], minlength=number).tolist()])
    if manifest.parts is not None:
        for part in _PARTS:
            head.append(f"own {part}")
            inside = count_labels(manifest.labels[manifest.parts == part], number)
            columns.append([f"{count:,}" for count in inside.tolist()])
    difference = compare_counts(manifest, published) if len(published) == number else np.zeros(0, np.int64)
    if len(difference):
        head.append("against published")
        columns.append([f"{count:+,}" if count else "=" for count in difference.tolist()])
    by_source = confounding(manifest)
    if by_source is not None and len(by_source[0]) <= MAX_SOURCES:
        head += [f"from {name or '(none)'}" for name in by_source[0]]
        columns += [[f"{count:,}" for count in column] for column in by_source[1].T.tolist()]
    rows = [[code, *cells] for code, *cells in zip(manifest.classes, *columns, strict=True)]
    lines = [
        f"{manifest.name} in {manifest.root}: {len(manifest):,} images, {number} "
        f"{'labels' if manifest.multilabel else 'classes'}, imbalance "
        f"{counts.max() / smallest:.1f} : 1",
        *table([head, *(rows if everything else _largest_and_smallest(rows, counts))]),
    ]
    if manifest.multilabel:
        lines += multilabel.describe(manifest)
    if empty := [code for code, count in zip(manifest.classes, counts, strict=True) if not count]:
        lines.append(f"! no image of {_truncated(empty)}")
    if difference.any():
        lines.append("! the images per class are not the published ones: another copy, or not all of it")
    return lines


def groups(manifest: Manifest) -> list[str]:
    """Groups of images, with the remarks of the reader."""
    unit = manifest.group_name
    # Remarks of the reader, for instance which columns the groups come from.
    notes = [str(note) for note in getattr(manifest, "notes", ())]
    if manifest.groups is None:
        return [f"! no {unit} ids: images of one {unit} may be in training and test part undetected", *notes]
    sizes = np.bincount(np.unique(manifest.groups, return_inverse=True)[1])
    repeated = sizes[sizes > 1]
    repeated_groups = f"{len(repeated):,} have several images ({repeated.sum():,} in all, at most {sizes.max()})"
    lines = [f"{len(sizes):,} {unit}s; {repeated_groups}", *notes]
    if manifest.multilabel:
        return [*lines, *multilabel.flags_of_groups(manifest)]
    if mixed := int((np.bincount(_pairs(manifest)[0]) > 1).sum()):
        lines.append(f"! {mixed:,} {unit}s have images of more than one class")
    return lines


def left_out(manifest: Manifest, reader_warnings: Sequence[str]) -> list[str]:
    """Files below the root that are not part of the data set, and warnings of the reader."""
    images, others, first = unlisted(manifest)
    lines = []
    if images:
        lines.append(
            f"! {images.total():,} image files below the folder are left out ({_amounts(images)}), the first is {first}"
        )
    if others:
        lines.append(f"{others.total():,} other files are below the folder ({_amounts(others)})")
    return [*lines, *(f"! {text}" for text in dict.fromkeys(reader_warnings))]


def files(manifest: Manifest, contents: Contents, image_size: int, *, everything: bool = False) -> list[str]:
    """Files that cannot be decoded, and the sizes and bit depths of the others."""
    lines = [f"{'! ' if contents.bad else ''}{len(contents.bad):,} images cannot be read"]
    lines += first_lines([f"{manifest.images[row]}: {reason}" for row, reason in contents.bad], everything)
    readable = np.array([bool(by) for by in contents.scaled_by])
    if not readable.any():
        return lines
    sides, frequencies = np.unique(contents.sides[readable], axis=0, return_counts=True)
    sizes = [f"{width} x {height}" for height, width in sides.tolist()]
    if len(sizes) > 1:
        area, most_frequent = sides.prod(axis=1), int(frequencies.argmax())
        smallest, largest = sizes[int(area.argmin())], sizes[int(area.argmax())]
        span = f"{smallest} to {largest} (width x height), {len(sizes):,} different, most often {sizes[most_frequent]}"
        lines.append(f"sizes: {span} ({frequencies[most_frequent]:,} images)")
    else:
        lines.append(f"size of all images: {sizes[0]} (width x height)")
    small = int((contents.sides[readable].min(axis=1) < image_size).sum())
    if small:
        lines.append(f"! {small:,} images are smaller than image_size={image_size} in one direction and are enlarged")
    return [*lines, *_depths(contents, readable), *_uniform_images(manifest, contents, readable, everything)]


def copies(manifest: Manifest, duplicates: Duplicates, *, everything: bool = False) -> list[str]:
    """Equal files and near-duplicates, and those among them with different labels or groups."""
    equal, similar = duplicates.equal(), duplicates.near_duplicates()
    lines = [f"{'! ' if equal else ''}{duplicates.repeated:,} images are exact copies of another one"]
    lines += first_lines([" = ".join(manifest.images[row] for row in rows[:4]) for rows in equal], everything)
    if differing := _differing(manifest.labels, equal):
        lines.append(f"! {len(differing):,} of these files have different labels:")
        lines += first_lines([", ".join(_labelled(manifest, rows)) for rows in differing], everything)
    if similar:
        description = "images look like another one (compressed, resized, mirrored or turned)"
        lines.append(f"! {len(np.unique(np.concatenate(similar))):,} {description}, in {len(similar):,} sets")
        lines += first_lines([" ~ ".join(manifest.images[row] for row in rows[:4]) for rows in similar], everything)
        if different := len(_differing(manifest.labels, similar)):
            lines.append(f"! {different:,} of these sets have different labels")
    if manifest.groups is not None and (apart := len(_differing(manifest.groups, [*equal, *similar]))):
        lines.append(f"! {apart:,} sets of copies are in several {manifest.group_name}s: split=grouped may divide them")
    return lines


def splits(
    manifest: Manifest, protocols: Iterable[tuple[str, Callable[[], Split]]], duplicates: Duplicates | None
) -> list[str]:
    """Splits by every protocol: sizes, classes that a part lacks, leakage, duplicates across parts.

    Args:
        manifest: the images.
        protocols: title and split, the selected one first.
        duplicates: the copies among the images, if their files were read.
    """
    rows = [["split", "hash", *_PARTS, "rarest\nin test", "classes\nnot in\nval", "not in\ntest"]]
    rows[0].append(f"test images\nof a {manifest.group_name}\nin train")
    rows[0] += [] if duplicates is None else ["copied\nin train", "alike\nin train"]
    notes: list[str] = []
    listed: set[tuple[str, str]] = set()
    for index, (title, divide) in enumerate(protocols):
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                split = divide()
        except UserError as error:
            notes += [] if index else [f"! {title}: {error}"]
            continue
        notes += [] if index else [f"! {title}: {warning.message}" for warning in caught]
        digest = split.digest(manifest)
        if (split.name, digest) in listed:
            continue
        listed.add((split.name, digest))
        counts, leakage = split.counts(manifest)["test"], split.leakage(manifest)
        absent_in = {part: split.absent(manifest, part) for part in ("val", "test")}
        rarest = int(counts.argmin())
        row = [
            title if index else f"{title}: {split.name}",
            digest,
            *(f"{len(rows):,}" for rows in split.parts.values()),
        ]
        row += [
            f"{manifest.classes[rarest]} {counts[rarest]:,}",
            *(f"{len(absent):,}" for absent in absent_in.values()),
        ]
        row.append("unknown" if leakage is None else f"{leakage['leaking']:,} ({leakage['fraction']:.1%})")
        across = () if duplicates is None else duplicates.across(split)
        rows.append([*row, *(f"{number:,}" for number in across)])
        if not index and sum(across):
            notes.append(f"! {title}: {sum(across):,} test images have a copy in the training part")
        if len(untrained := np.flatnonzero(split.counts(manifest)["train"] == 0)):
            notes.append(f"! {title}: no training image of {_truncated([manifest.classes[k] for k in untrained])}")
        for part, absent in absent_in.items() if not index else ():
            if len(absent):
                names = _truncated([manifest.classes[k] for k in absent])
                trained = len(manifest.classes) - len(untrained)
                name = "validation" if part == "val" else "test"
                notes.append(f"! {title}: {len(absent):,} of {trained:,} classes have no {name} image ({names})")
    return [*table(rows), *notes]


def sources(manifest: Manifest) -> list[str]:
    """Association of the source of an image and its class."""
    by_source = confounding(manifest)
    if by_source is None:
        return []
    names, counts, strength = by_source
    subject = "any label" if manifest.multilabel else "class"
    lines = [f"{len(names):,} sources; of {subject} and source Cramer's V {strength:.2f} (0 independent, 1 determined)"]
    single = [code for code, line in zip(manifest.classes, counts, strict=True) if (line > 0).sum() == 1]
    if single and len(names) > 1:
        lines.append(f"! from one source only, so that the source may be learned in its place: {_truncated(single)}")
    return lines


def table(rows: list[list[str]]) -> list[str]:
    """Aligned columns, the first one left-justified; cells of the header may have several lines."""
    height = max(cell.count("\n") for cell in rows[0]) + 1
    split = [cell.split("\n") for cell in rows[0]]
    head = [[*[""] * (height - len(cell)), *cell] for cell in split]
    rows = [*(list(line) for line in zip(*head, strict=True)), *rows[1:]]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    cells = [[cell.rjust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    return ["  ".join([row[0].strip().ljust(widths[0]), *row[1:]]).rstrip() for row in cells]


def first_lines(lines: list[str], everything: bool) -> list[str]:
    """The lines, indented; only the first few unless `everything` is set."""
    if everything or len(lines) <= MAX_FILES:
        return [f"  {line}" for line in lines]
    return [*(f"  {line}" for line in lines[: MAX_FILES - 1]), f"  {lines[MAX_FILES - 1]}, ... (--all)"]


def _largest_and_smallest(rows: list[list[str]], counts: np.ndarray) -> list[list[str]]:
    """The rows of the classes with the most and the fewest images, in descending order, if there are many classes."""
    if len(rows) <= MAX_CLASSES:
        return rows
    order = np.argsort(-counts, kind="stable").tolist()
    between = [f"({len(rows) - _LARGEST - _SMALLEST} more)", *[""] * (len(rows[0]) - 1)]
    return [*(rows[k] for k in order[:_LARGEST]), between, *(rows[k] for k in order[-_SMALLEST:])]


def _depths(contents: Contents, readable: np.ndarray) -> list[str]:
    """Bit depths, value ranges, and how they are scaled to eight bits."""
    bits, by = contents.bits[readable], np.array(contents.scaled_by)[readable]
    kinds = Counter(zip(bits.tolist(), by.tolist(), strict=True)).most_common()
    depths = []
    for (depth, scaled_by), number in kinds:
        values = contents.extremes[readable][(bits == depth) & (by == scaled_by)]
        span = "" if np.isnan(values).any() else f" with values {_number(values.min())} to {_number(values.max())}"
        depths.append(f"{depth} bits{span}, {scaled_by}" + (f" ({number:,} images)" if len(kinds) > 1 else ""))
    lines = [f"{'! ' if len(kinds) > 1 else ''}depth: {'; '.join(depths)}"]
    relative = contents.extremes[readable][by == RANGE]
    if len(relative):
        span = f"[{_number(relative.min(), '')},{_number(relative.max(), '')}]"
        lines.append(
            f"! {len(relative):,} images are scaled each for itself; dataset.intensity={span} scales all alike"
        )
    return lines


def _uniform_images(manifest: Manifest, contents: Contents, good: np.ndarray, everything: bool) -> list[str]:
    plain = np.flatnonzero(is_uniform(contents.thumbnails) & good)
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
    """The sets whose rows have different values; for targets `[N, K]`, different known values."""
    if values.ndim == 2:
        return [
            rows for rows in sets if (np.nanmax(t := values[rows], 0, initial=0) > np.nanmin(t, 0, initial=1)).any()
        ]
    return [rows for rows in sets if len(np.unique(values[rows])) > 1]


def _labelled(manifest: Manifest, rows: np.ndarray) -> list[str]:
    codes = zip(rows.tolist(), manifest.codes(rows), strict=True)
    return [f"{manifest.images[row]} {code or '(no label)'}" for row, code in codes]


def _truncated(names: Sequence[str], max_items: int = 10) -> str:
    return ", ".join(names[:max_items]) + (f" and {len(names) - max_items:,} more" if len(names) > max_items else "")


def _amounts(kinds: Counter[str], max_items: int = 4) -> str:
    return _truncated([f"{number:,} {kind}" for kind, number in kinds.most_common()], max_items)


def _number(value: float, group: str = ",") -> str:
    return format(int(value), group) if value == int(value) else f"{value:g}"
