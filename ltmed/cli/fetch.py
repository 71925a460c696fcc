"""`ltmed fetch`: gets the files of a data set, or says how to get them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ltmed.errors import UserError

if TYPE_CHECKING:
    from ltmed.data.download import Advance


@click.command()
@click.argument("name")
@click.option("--root", type=click.Path(path_type=Path), help="Folder of the data set; made if needed.")
@click.option("--only", metavar="PATTERN", help="Only files whose names match, for instance '*Training*'.")
@click.option("--list", "listing", is_flag=True, help="Only list the files and where they are.")
def command(name: str, root: Path | None, only: str | None, listing: bool) -> None:
    """Downloads and unpacks the data set NAME (as in dataset=NAME) into --root.

    The same line continues what was stopped, where it is certain that the server still has the same file. Sets that
    need an account or a request are explained instead.
    """
    from ltmed.config.compose import reader
    from ltmed.data.download import download, unpack

    data = reader(name)
    if not data.downloads:
        click.echo(f"{name} has no direct download.\n{data.how_to_get()}")
        return
    items = [item for item in data.downloads if only is None or fnmatch(item.name, only)]
    if not items:
        known = ", ".join(item.name for item in data.downloads)
        raise UserError(f"--only={only} matches no file of {name}", f"Its files: {known}.")
    if data.alternatives and only is None and not listing:
        raise UserError(
            f"{name} has {len(items)} archives, each a data set of its own",
            f"Choose, for instance --only '{items[0].name}'; ltmed fetch {name} --list shows all.",
        )
    if listing:
        click.echo("\n".join(item.url for item in items))
        return
    if root is None:
        raise UserError("--root is missing", f"Say where to, for instance: ltmed fetch {name} --root data/{name}.")
    click.echo(f"{name}: {data.source} ({data.licence})")
    root = root.expanduser()
    for item in items:
        with _progress(item.name) as advance:
            path = download(item, root, advance)
        new = f", {unpack(path, root):,} files unpacked" if path.suffix == ".zip" else ""
        click.echo(f"{item.name}: {path.stat().st_size / 2**20:,.1f} MiB{new}")
    click.echo(f"Next: ltmed check dataset={name} dataset.root={root}")


@contextmanager
def _progress(title: str) -> Iterator[Advance]:
    """A progress bar on stderr, or lines where that is no terminal; gives the function that moves it."""
    if not sys.stderr.isatty():
        from ltmed.utils.progress import heartbeat

        state: list[int | None] = [0, None]

        def describe() -> str:
            done, total = ("?" if size is None else f"{size / 2**20:,.0f}" for size in state)
            return f"{title}: {done} of {total} MiB"

        def moved(done: int, total: int | None) -> None:
            state[:] = done, total

        with heartbeat(describe):
            yield moved
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
