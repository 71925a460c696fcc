"""`ltmed predict`: what a trained network says about images."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ltmed.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

EXIT_UNREADABLE = 3
SUFFIXES = (".csv", ".parquet")


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="[RUN]... IMAGES...")
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), help="FILE.csv or FILE.parquet; if absent, CSV to stdout."
)
@click.option(
    "--batch-size", type=click.IntRange(1), default=128, show_default=True, help="Images in the network at once."
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or what else torch knows.")
@click.option("--threads", type=click.IntRange(1), help="Threads; one per core if absent.")
@click.option(
    "--tta",
    default="none",
    show_default=True,
    metavar="none|flips",
    help="Test-time views that are averaged; flips: as it is, and mirrored left to right, top to bottom, and both.",
)
@click.option("--trust", is_flag=True, help="Also build classes that are not part of ltmed: runs their author's code.")
def command(
    run: Path,
    images: tuple[Path, ...],
    output: Path | None,
    batch_size: int,
    device: str,
    threads: int | None,
    tta: str,
    trust: bool,
) -> None:
    """Predicts the classes of IMAGES with the network of the finished run in the folder RUN.

    Several RUNs of the same classes, all before the first image, are an ensemble: probabilities are the mean over its
    members. Of several runs or views, column disagreement is the mutual information between class and member in nats:
    0 where all say the same.

    IMAGES are files, folders (with everything below them) and tables (CSV, TSV, Excel, JSON, Parquet) with a column of
    paths, relative to the table. A file that cannot be read has a row that says why, and the exit code is then 3.
    """
    if output is not None:
        _check(output, images)
    from ltmed.inference.restore import finished_run

    runs, images = runs_and_images(run, images)
    for folder in runs:
        finished_run(folder)  # Reports mistakes before the slow import of torch.
    from ltmed.data.inputs import list_images
    from ltmed.inference.predictor import Predictor
    from ltmed.runs.outputs import require_no_figures_of_run
    from ltmed.utils.progress import bar

    listed = list_images(images)
    require_no_figures_of_run(listed.paths)
    if listed.repeated:
        many = "images are" if listed.repeated > 1 else "image is"
        click.echo(f"{listed.repeated:,} {many} given more than once; each has one row", err=True)
    predictor = Predictor(*runs, device=device, batch_size=batch_size, threads=threads, tta=tta, trust=trust)
    unreadable = 0
    # A bar between the rows would make both unreadable.
    quiet = output is None and sys.stdout.isatty()
    with (
        _writer(output, predictor.columns) as write,
        bar("predicting", len(listed.paths), False if quiet else None) as advance,
    ):
        for table in predictor.batches(listed.paths, listed.names):
            write(table)
            advance(len(table))
            unreadable += sum(error is not None for error in table["error"])
    if unreadable:
        click.echo(f"{unreadable:,} of {len(listed.paths):,} images cannot be read; column error says why", err=True)
        raise SystemExit(EXIT_UNREADABLE)


def runs_and_images(run: Path, paths: Sequence[Path]) -> tuple[list[Path], tuple[Path, ...]]:
    """The first argument and the folders of runs that follow it, and the images.

    Raises:
        UserError: no image is left, or the folder of a run comes behind an image.
    """
    from ltmed.runs.directory import CONFIG  # The configuration library is slow to import.
    from ltmed.runs.facts import RUN

    is_run = [(path / CONFIG).is_file() and (path / RUN).is_file() for path in paths]
    number = is_run.index(False) if False in is_run else len(paths)
    if number == len(paths):
        raise UserError("There are folders of runs, but no images", "Give image files, folders or tables after them.")
    if True in is_run[number:]:
        late = paths[number + is_run[number:].index(True)]
        raise UserError(
            f"{late} is the folder of a run and comes after images", "Give all runs first, then the images."
        )
    return [run, *paths[:number]], tuple(paths[number:])


def _check(output: Path, images: tuple[Path, ...]) -> None:
    if output.suffix.lower() not in SUFFIXES:
        raise UserError(f"--output={output} ends in neither .csv nor .parquet", "The suffix chooses the format.")
    from ltmed.runs.outputs import require_no_file_of_run

    require_no_file_of_run(output)
    if output.exists() and any(image.exists() and output.samefile(image) for image in images):
        raise UserError(f"--output={output} is the list of images itself", "Choose another name.")


@contextmanager
def _writer(output: Path | None, columns: dict[str, type]) -> Iterator[Callable[[pd.DataFrame], object]]:
    """Yields the function that appends a table to the output; the file appears when it is complete."""
    from ltmed.utils.files import whole_file

    if output is None:
        _print(_csv_line(columns))
        yield lambda table: _print(_csv(table))
        return
    with whole_file(output) as file:
        if output.suffix.lower() == ".csv":
            with file.open("w", encoding="utf-8", newline="") as opened:
                opened.write(_csv_line(columns))
                yield lambda table: opened.write(_csv(table))
            return
        import pyarrow as pa
        from pyarrow.parquet import ParquetWriter

        kinds = {str: pa.string(), float: pa.float32()}
        schema = pa.schema([(name, kinds[kind]) for name, kind in columns.items()])
        with ParquetWriter(file, schema) as writer:
            yield lambda table: writer.write_table(pa.Table.from_pandas(table, schema, preserve_index=False))


def _print(text: str) -> None:
    try:
        click.echo(text, nl=False)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UserError(f"The table cannot be printed: {error.strerror or error}", "Choose an --output.") from None


def _csv(table: pd.DataFrame) -> str:
    """Lines for spreadsheets: a file may be named like a formula."""
    texts = {name: table[name].map(_as_text) for name in ("image", "predicted", "name", "error")}
    return table.assign(**texts).to_csv(index=False, header=False, lineterminator="\n")


def _as_text(cell: object) -> object:
    from ltmed.utils.spreadsheets import as_text

    return as_text(cell) if isinstance(cell, str) else cell


def _csv_line(columns: dict[str, type]) -> str:
    import pandas as pd

    return pd.DataFrame(columns=list(columns)).to_csv(index=False, lineterminator="\n")
