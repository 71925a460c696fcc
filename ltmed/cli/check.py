"""`ltmed check`: what a data set holds and what is wrong with it, before anything is trained."""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ltmed.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from omegaconf import DictConfig

    from ltmed.data.audit.contents import Contents
    from ltmed.data.manifest import Manifest
    from ltmed.data.splits.protocols import Split

_NAMES = ("image", "path", "file", "filename", "image_id", "isic_id", "id_code", "file-name", "video file")


@click.command()
@click.argument("overrides", nargs=-1, required=True)
@click.option(
    "--against",
    multiple=True,
    metavar="DATA",
    help="Look for common images with other data: a CSV of images, or 'dataset=NAME dataset.root=DIR'. Repeatable.",
)
@click.option("--labels-only", is_flag=True, help="Open no image file: no search for damaged files and copies.")
@click.option("--all", "everything", is_flag=True, help="Print every class and file, on more than one screen.")
def command(overrides: tuple[str, ...], against: tuple[str, ...], labels_only: bool, everything: bool) -> None:
    """Reports on a data set, given as for ltmed train: dataset=isic2018 dataset.root=DIR [key=value ...].

    On one screen: classes, groups, what was left out, sizes and depth of images, damaged files, copies, and what every
    split makes of it: sizes, classes without validation images, leakage. Then common images with other data.
    """
    from ltmed.config.compose import compose, read_manifest
    from ltmed.data.audit import overview

    cfg = compose(overrides)
    with _recorded_warnings() as messages:
        manifest, reader = read_manifest(cfg)
    _say(overview.classes(manifest, reader.counts_known, everything=everything))
    _say([*overview.groups(manifest), *overview.sources(manifest), *overview.left_out(manifest, messages)])
    contents = copies = None
    if not labels_only:
        from ltmed.data.audit.copies import find_copies

        contents = _read(manifest, cfg)
        copies = find_copies(contents.digests, contents.looks)
        size = int(cfg.image_size)
        _say(
            [
                *overview.files(manifest, contents, size, everything=everything),
                *overview.copies(manifest, copies, everything=everything),
            ]
        )
    _say(overview.splits(manifest, _protocols(manifest, cfg), copies))
    for other in against:
        _say(_overlap(manifest, contents, other, everything))


def _protocols(manifest: Manifest, cfg: DictConfig) -> list[tuple[str, Callable[[], Split]]]:
    """Title and division of every protocol; that of the configuration first."""
    from functools import partial

    from ltmed.config.instantiate import build
    from ltmed.config.targets import trusted
    from ltmed.data.splits import papers
    from ltmed.data.splits import protocols as splits

    with trusted():  # The user's own overrides.
        configured = build(cfg.split)
    protocols: dict[str, Callable[[], Split]] = {"as chosen": lambda: configured(manifest, cfg.fold)}
    protocols |= {name: partial(getattr(splits, name), manifest, 0) for name in ("grouped", "random", "official")}
    divisions = {paper: known[manifest.name] for paper, known in papers.PAPERS.items() if manifest.name in known}
    for division in dict.fromkeys(divisions.values()):
        alike = [paper for paper, other in divisions.items() if other == division]
        title = f"paper, {division.description} ({alike[0]}{', ...' if len(alike) > 1 else ''})"
        protocols[title] = partial(papers.paper, manifest, 0, of=alike[0])
    return list(protocols.items())


def _read(manifest: Manifest, cfg: DictConfig) -> Contents:
    from ltmed.data.audit.contents import read_contents
    from ltmed.data.cache.intensity import Intensity
    from ltmed.utils.progress import bar

    intensity = Intensity.of(cfg.dataset.get("intensity", "auto"))
    with bar(f"reading {manifest.name}", len(manifest), None) as advance:
        return read_contents(manifest, intensity=intensity, threads=cfg.dataset.threads, advance=advance)


def _overlap(manifest: Manifest, contents: Contents | None, other: str, everything: bool) -> list[str]:
    """Images in common with other data, by name and, where both have files, by content and by appearance."""
    import numpy as np

    from ltmed.config.compose import compose, read_manifest
    from ltmed.data.audit.copies import find_copies
    from ltmed.data.audit.problems import overlap
    from ltmed.data.readers._files import column, read_table

    path = Path(other).expanduser()
    if "=" in other and not path.is_file():
        cfg = compose(shlex.split(other))
        other_manifest, _ = read_manifest(cfg)
        names: Sequence[str] = other_manifest.images
        title = f"{other_manifest.name} in {other_manifest.root}"
    else:
        if not path.is_file():
            raise UserError(f"--against {other}: no such file", "Give a CSV, or 'dataset=NAME dataset.root=DIR'.")
        cfg, other_manifest, title = None, None, str(path)
        names = column(read_table(path), path, *_NAMES)
    rows = overlap(manifest, names)
    lines = [f"{'! ' if len(rows) else ''}{len(rows):,} of {len(manifest):,} images are in {title} by name"]
    lines += _where(manifest, rows, everything)
    if other_manifest is not None and cfg is not None and contents is not None:
        other_contents = _read(other_manifest, cfg)
        copies = find_copies(
            [*contents.digests, *other_contents.digests], np.concatenate([contents.looks, other_contents.looks])
        )
        images = np.arange(len(manifest))
        for way, matched in zip(
            ("are in it by content", "look like one of it"),
            copies.partners(images, np.arange(len(manifest), len(manifest) + len(other_manifest))),
            strict=True,
        ):
            lines.append(f"{'! ' if matched.any() else ''}{matched.sum():,} of {len(manifest):,} images {way}")
            lines += _where(manifest, images[matched], everything)
    return lines


def _where(manifest: Manifest, rows: np.ndarray, everything: bool) -> list[str]:
    """Images per class among `rows`, and the first of them."""
    from ltmed.data.audit.overview import first_lines
    from ltmed.data.manifest import count_labels

    counts = count_labels(manifest.labels[rows], len(manifest.classes))
    named = [f"{code} {count:,}" for code, count in zip(manifest.classes, counts, strict=True) if count]
    lines = first_lines([manifest.images[row] for row in rows.tolist()], everything)
    return [f"  {', '.join(named)}", *lines] if named else []


@contextmanager
def _recorded_warnings() -> Iterator[list[str]]:
    """Collects the text of every UserWarning of the body in a list, instead of printing it."""
    messages: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield messages
        finally:
            messages += [str(record.message) for record in caught if issubclass(record.category, UserWarning)]


def _say(lines: list[str]) -> None:
    if lines:
        click.echo("\n".join([*lines, ""]))
