"""The tables of a finished run for the terminal, a pipe or a log file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

LOW_SUPPORT = 10
"""Classes with fewer test images are flagged in the tables: their metrics are uncertain."""

MAX_ROWS = 40
"""At most so many classes are listed; of a data set with more, those with the lowest F1."""

DISPLAY_NAMES = {
    "macro_f1": "macro F1", "macro_auroc": "macro AUROC", "mcc": "MCC", "ece": "ECE", "macro_ap": "macro AP",
    "head_ap": "head AP", "medium_ap": "medium AP", "tail_ap": "tail AP", "micro_f1": "micro F1",
    "macro_ece": "macro ECE",
    "macro_f1_at_half": "macro F1 at 0.5", "micro_f1_at_half": "micro F1 at 0.5",
}  # fmt: skip

_COLUMNS = {False: ("precision", "recall", "f1", "auroc"), True: ("ap", "auroc", "f1", "precision", "recall")}
"""Whether images carry several labels -> metrics that are listed for each class."""
_WITH_INTERVAL = {False: "recall", True: "ap"}
_HEADINGS: dict[str, str] = {"f1": "F1", "auroc": "AUROC", "ap": "AP"}

MIN_WIDTH = 110
"""Columns of output to a pipe or a file; full class names are left out on a narrower terminal."""

_BETWEEN = 2
"""Columns between those of a table."""

_MIN_NAME = 8
"""A column of names is at least so wide, if a name is; longer ones continue on the next line."""


def print_summary(metrics: dict[str, Any], console: Console | None = None) -> None:
    """Prints the results of a run: protocol, overall metrics with intervals, metrics per class.

    No number is ever shortened: names of classes take what the numbers leave of the width, and the lines of a table
    whose numbers are wider than the terminal are broken by it.

    Args:
        metrics: as returned by `ltmed.runs.record.collect` or `ltmed.runs.record.read`.
        console: None writes to standard output, as plain text if it is not a terminal.
    """
    if console is None:
        console = Console()
        if not console.is_terminal:
            console = Console(width=max(console.width, MIN_WIDTH))
    console.print(_protocol(metrics))
    _print_titled(console, *_overall(metrics))
    _print_titled(console, *_classes(metrics, named=console.width >= MIN_WIDTH))


def _print_titled(console: Console, title: str, table: Table, notes: Sequence[str]) -> None:
    """Prints a table as wide as its numbers need, wherever the terminal ends: rich would cut or drop them."""
    console.print(Text(f"\n{title}", style="bold"))
    width = console.width
    needed = sum(column.min_width or 0 for column in table.columns) + _BETWEEN * (len(table.columns) - 1)
    console.width = max(width, needed)
    console.print(table)
    console.width = width
    console.print(Group(*(Text(note, style="dim") for note in notes)))


def _protocol(metrics: dict[str, Any]) -> Text:
    run, split = metrics["run"], metrics["split"]
    parts = ", ".join(f"{part} {number:,}" for part, number in split["images"].items())
    lines = [
        f"{run['method']} on {run['dataset']}, fold {run['fold']}, seed {run['seed']}",
        f"Split: {split['name']} (hash {split['hash']}): {parts} images",
        f"Leakage: {leakage(split)}",
    ]
    if imbalance := split.get("imbalance"):
        counts = ", ".join(
            f"{code} {n:,} of {imbalance['requested'][code]:,}" for code, n in imbalance["achieved"].items()
        )
        lines.append(
            f"Long tail: {imbalance['achieved_ratio']:.1f} : 1, {imbalance['ratio']:g} : 1 requested ({counts})"
        )
    if metrics["test"]["absent"]:
        absent = ", ".join(metrics["test"]["absent"])
        lacking = "positive (or no negative) test images" if "thresholds" in metrics["test"] else "test images"
        lines.append(f"No {lacking} of {absent}: not scored, not part of any average.")
    if metrics["skipped"]:
        lines.append(f"Unreadable, took no part: {len(metrics['skipped']):,} images (metrics.json lists them).")
    lines += [f"Warning: {sentence}." for sentence in metrics.get("warnings", ())]
    return Text("\n".join(["", *lines]))


def leakage(split: dict[str, Any]) -> str:
    """What metrics.json says about images of one group on both sides of a split, as a sentence."""
    leak, group = split["leakage"], split["group"]
    if leak is None:
        return "unknown, the data set says nothing on which images are of one lesion or patient"
    if not leak["leaking"]:
        return f"none, no {group} has images in both training and test part"
    share = f"{100 * leak['fraction']:.1f} % of the test images ({leak['leaking']:,} of {leak['images']:,})"
    return f"{share} are of a {group} that has training images too"


def _overall(metrics: dict[str, Any]) -> tuple[str, Table, list[str]]:
    test, intervals = metrics["test"], metrics["test"]["intervals"]
    table = _table("metric")
    for heading in ("test", f"{100 * intervals['level']:.0f} % interval", "validation"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, value in test["scalars"].items():
        table.add_row(
            DISPLAY_NAMES.get(name, name.replace("_", " ")),
            _number(value),
            _interval(intervals["scalars"][name]),
            _number(metrics["val"]["scalars"][name]),
            style="bold" if name in ("balanced_accuracy", "macro_f1", "macro_ap") else "",
        )
    resampled = f"{intervals['resamples']:,} resamples of {intervals['units']:,} {intervals['unit']}s"
    title = f"Test part, {test['images']:,} images"
    return title, _whole_numbers(table), [f"Intervals: bootstrap over {resampled}."]


def _classes(metrics: dict[str, Any], named: bool) -> tuple[str, Table, list[str]]:
    rows, intervals = metrics["test"]["per_class"], metrics["test"]["intervals"]["per_class"]
    trained, notes = metrics["split"]["counts"]["train"], [f"Tiers: {metrics['tiers']['rule']}."]
    multilabel = "thresholds" in metrics["test"]
    columns, with_interval = _COLUMNS[multilabel], _WITH_INTERVAL[multilabel]
    if multilabel:
        notes.append("F1, precision and recall are those at the thresholds that the validation part chose.")
    if len(rows) > MAX_ROWS:
        notes.append(f"The {MAX_ROWS} lowest F1 of {len(rows)} classes; metrics.json has all.")
        rows = sorted(rows, key=lambda row: (row["f1"] is None, row["f1"]))[:MAX_ROWS]
    if any(0 < row["support"] < LOW_SUPPORT for row in rows):
        notes.append(f"! fewer than {LOW_SUPPORT} test images: neither the number nor its interval says much.")
    table = _table("class")
    table.add_column("tier", no_wrap=True)
    headings = ["train", "test"]
    for name in columns:
        headings += [_HEADINGS.get(name, name), *["interval"] * (name == with_interval)]
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    if named:
        table.add_column("name", overflow="fold")
    for row in rows:
        cells = [
            Text(row["class"]),
            row["tier"],
            f"{trained[row['class']]:,}",
            f"{row['support']:,}{'!' if 0 < row['support'] < LOW_SUPPORT else ' '}",
            *(
                cell
                for name in columns
                for cell in (
                    _number(row[name]),
                    *[_interval(intervals[row["class"]][name])] * (name == with_interval),
                )
            ),
            Text("" if row["name"] == row["class"] else row["name"]),
        ]
        table.add_row(*cells[: len(table.columns)])
    return "Per class", _whole_numbers(table), notes


def _table(first: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    table.add_column(first, overflow="fold")
    return table


def _whole_numbers(table: Table) -> Table:
    """The finished table, whose columns of one line may not become narrower than their cells."""
    for column in table.columns:
        widths = [cell_len(str(cell)) for cell in (column.header, *column.cells)]
        column.min_width = max(widths) if column.no_wrap else min(max(widths), _MIN_NAME)
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _interval(bounds: list[float | None]) -> str:
    return "-" if None in bounds else f"{bounds[0]:.3f} to {bounds[1]:.3f}"
