"""`ltmed check`: what a data set holds and what is wrong with it, before anything is trained."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ltmed.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from omegaconf import DictConfig

    from ltmed.data.audit import Contents
    from ltmed.data.manifest import Manifest

_SHOWN = 10
_NAMES = ("image", "path", "file", "filename", "image_id", "isic_id", "id_code", "file-name", "video file")


@click.command()
@click.argument("overrides", nargs=-1, required=True)
@click.option(
    "--against",
    multiple=True,
    metavar="DATA",
    help="Look for common images with other data: a CSV of images, or 'dataset=NAME dataset.root=DIR'. Repeatable.",
)
@click.option("--labels-only", is_flag=True, help="Open no image file: no search for damaged and equal files.")
def command(overrides: tuple[str, ...], against: tuple[str, ...], labels_only: bool) -> None:
    """Reports on a data set, given as for ltmed train: dataset=isic2018 dataset.root=DIR [key=value ...].

    Counts, imbalance, groups, leakage of every split, damaged and equal files, sources, common images with other data.
    """
    from ltmed.config.compose import compose, read_manifest

    cfg = compose(overrides)
    manifest, reader = read_manifest(cfg)
    _say(_counts(manifest, reader.counts_known))
    _say(_splits(manifest, cfg))
    _say(_sources(manifest))
    contents = None if labels_only else _read(manifest, cfg.dataset.threads)
    if contents is not None:
        _say(_files(manifest, contents))
    for other in against:
        _say(_overlap(manifest, contents, other))


def _counts(manifest: Manifest, known: tuple[int, ...]) -> list[str]:
    import numpy as np

    from ltmed.data.audit import compare_counts

    counts = manifest.counts
    least = int(counts[counts > 0].min(initial=len(manifest)))
    rows = [["class", "images"]]
    columns = [counts]
    if manifest.groups is not None:
        rows[0].append(f"{manifest.group_name}s")
        pairs = np.unique(np.stack([manifest.labels, manifest.groups]), axis=1)
        columns.append(np.bincount(pairs[0], minlength=len(counts)))
    if manifest.parts is not None:
        for part in ("train", "val", "test"):
            rows[0].append(f"own {part}")
            columns.append(np.bincount(manifest.labels[manifest.parts == part], minlength=len(counts)))
    difference = compare_counts(manifest, known) if len(known) == len(counts) else None
    if difference is not None:
        rows[0].append("against published")
    for index, code in enumerate(manifest.classes):
        row = [code, *(f"{column[index]:,}" for column in columns)]
        if difference is not None:
            row.append(f"{difference[index]:+,}" if difference[index] else "=")
        rows.append(row)
    lines = [
        f"{manifest.name} in {manifest.root}: {len(manifest):,} images, {len(counts)} classes, imbalance "
        f"{counts.max() / least:.1f} : 1",
        *_table(rows),
    ]
    if empty := [code for code, count in zip(manifest.classes, counts, strict=True) if not count]:
        lines.append(f"! no image of {', '.join(empty)}")
    if difference is not None and difference.any():
        lines.append("! the images per class are not the published ones: another copy, or not all of it")
    return [*lines, *_groups(manifest)]


def _groups(manifest: Manifest) -> list[str]:
    import numpy as np

    word = manifest.group_name
    if manifest.groups is None:
        return [f"! no {word} ids: images of one {word} may be in training and test part, and nobody can tell"]
    sizes = np.bincount(np.unique(manifest.groups, return_inverse=True)[1])
    repeated = sizes[sizes > 1]
    several = f"{len(repeated):,} have several images ({repeated.sum():,} in all, at most {sizes.max()})"
    lines = [f"{len(sizes):,} {word}s; {several}"]
    pairs = np.unique(np.stack([manifest.groups, manifest.labels]), axis=1)
    mixed = int((np.unique(pairs[0], return_counts=True)[1] > 1).sum())
    if mixed:
        lines.append(f"! {mixed:,} {word}s have images of more than one class")
    return lines


def _splits(manifest: Manifest, cfg: DictConfig) -> list[str]:
    """What every protocol makes of the data; the chosen one first."""
    from functools import partial

    from ltmed.config.instantiate import build
    from ltmed.config.targets import trusted
    from ltmed.data import papers, splits

    with trusted():  # The user's own overrides.
        protocols: dict[str, Any] = {"as chosen": build(cfg.split)}
    protocols |= {name: getattr(splits, name) for name in ("grouped", "random", "official")}
    divisions = {paper: known[manifest.name] for paper, known in papers.PAPERS.items() if manifest.name in known}
    for division in dict.fromkeys(divisions.values()):
        alike = [paper for paper, other in divisions.items() if other == division]
        protocols[f"paper, {division.words} ({', '.join(alike)})"] = partial(papers.paper, of=alike[0])
    shared = f"test images of a {manifest.group_name} in train"
    rows, notes = [["split", "hash", "train", "val", "test", "rarest in test", shared]], []
    for title, protocol in protocols.items():
        try:
            split = protocol(manifest, cfg.fold if title == "as chosen" else 0)
        except UserError as error:
            if title == "as chosen":
                notes.append(f"! as chosen: {error.message}")
            continue
        counts, leak = split.counts(manifest), split.leakage(manifest)
        rarest = int(counts["test"].argmin())
        rows.append(
            [
                f"{title}: {split.name}" if title == "as chosen" else title,
                split.digest(manifest),
                *(f"{len(part):,}" for part in split.parts.values()),
                f"{manifest.classes[rarest]} {counts['test'][rarest]}",
                "unknown" if leak is None else f"{leak['leaking']:,} ({leak['fraction']:.1%})",
            ]
        )
        absent = [code for code, count in zip(manifest.classes, counts["train"], strict=True) if not count]
        if absent:
            notes.append(f"! {title}: no training image of {', '.join(absent)}")
    return [*_table(rows), *notes]


def _sources(manifest: Manifest) -> list[str]:
    from ltmed.data.audit import confounding

    found = confounding(manifest)
    if found is None:
        return []
    names, table, strength = found
    rows = [["class", *(name or "(none)" for name in names)]]
    rows += [[code, *(f"{n:,}" for n in line)] for code, line in zip(manifest.classes, table.tolist(), strict=True)]
    lines = [f"Images per class and source; Cramer's V {strength:.2f} (0 independent, 1 determined)", *_table(rows)]
    single = [code for code, line in zip(manifest.classes, table, strict=True) if (line > 0).sum() == 1]
    if single and len(names) > 1:
        lines.append(f"! from one source only, so that the source may be learned in its place: {', '.join(single)}")
    return lines


def _read(manifest: Manifest, threads: int | None) -> Contents:
    from ltmed.data.audit import read_contents
    from ltmed.utils.progress import bar

    with bar(f"reading {manifest.name}", len(manifest), None) as advance:
        return read_contents(manifest, threads=threads, advance=advance)


def _files(manifest: Manifest, contents: Contents) -> list[str]:
    from ltmed.data.audit import duplicates

    lines = [f"{'! ' if contents.bad else ''}{len(contents.bad):,} images cannot be read"]
    lines += _first([f"{manifest.images[row]}: {reason}" for row, reason in contents.bad])
    same = duplicates(contents.digests)
    copies = sum(map(len, same)) - len(same)
    lines.append(f"{'! ' if same else ''}{copies:,} images are exact copies of another one")
    lines += _first([" = ".join(manifest.images[row] for row in rows[:4]) for rows in same])
    labelled = [
        f"{image} {manifest.classes[label]}" for image, label in zip(manifest.images, manifest.labels, strict=True)
    ]
    differing = [rows for rows in same if len(set(manifest.labels[rows].tolist())) > 1]
    if differing:
        lines.append(f"! {len(differing):,} of these files have different labels:")
        lines += _first([", ".join(labelled[row] for row in rows) for rows in differing])
    if manifest.groups is not None:
        apart = sum(len(set(manifest.groups[rows].tolist())) > 1 for rows in same)
        if apart:
            lines.append(
                f"! {apart:,} of these files are in several {manifest.group_name}s: split=grouped may divide them"
            )
    return lines


def _overlap(manifest: Manifest, contents: Contents | None, other: str) -> list[str]:
    """Images in common with other data, by name and, where both have files, by content."""
    from ltmed.config.compose import compose, read_manifest
    from ltmed.data.audit import overlap
    from ltmed.data.readers._files import column, read_table

    path = Path(other).expanduser()
    if "=" in other and not path.is_file():
        cfg = compose(shlex.split(other))
        known, _ = read_manifest(cfg)
        names: Sequence[str] = known.images
        title = f"{known.name} in {known.root}"
    else:
        if not path.is_file():
            raise UserError(f"--against {other}: no such file", "Give a CSV, or 'dataset=NAME dataset.root=DIR'.")
        known, title = None, str(path)
        names = column(read_table(path), path, *_NAMES)
    rows = overlap(manifest, names)
    lines = [f"{'! ' if len(rows) else ''}{len(rows):,} of {len(manifest):,} images are in {title} by name"]
    lines += _per_class(manifest, rows)
    if known is not None and contents is not None:
        theirs = set(_read(known, None).digests.values())
        same = [row for row, digest in contents.digests.items() if digest in theirs]
        lines.append(f"{'! ' if same else ''}{len(same):,} of {len(manifest):,} images are in it by content")
    return lines


def _per_class(manifest: Manifest, rows: np.ndarray) -> list[str]:
    import numpy as np

    counts = np.bincount(manifest.labels[rows], minlength=len(manifest.classes))
    named = [f"{code} {count:,}" for code, count in zip(manifest.classes, counts, strict=True) if count]
    return [f"  {', '.join(named)}", *_first([manifest.images[row] for row in rows[: _SHOWN + 1]])] if named else []


def _first(lines: list[str]) -> list[str]:
    more = [f"  ... and {len(lines) - _SHOWN:,} more"] if len(lines) > _SHOWN else []
    return [f"  {line}" for line in lines[:_SHOWN]] + more


def _table(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    cells = [[cell.rjust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    return ["  ".join([row[0].strip().ljust(widths[0]), *row[1:]]).rstrip() for row in cells]


def _say(lines: list[str]) -> None:
    if lines:
        click.echo("\n".join([*lines, ""]))
