"""The tables of a finished run for the terminal, a pipe or a log file."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

LOW_SUPPORT = 10
"""Below this many test images a class's numbers say little; the tables flag them."""

MOST_ROWS = 40
"""Classes shown; of a data set with more, those with the lowest F1."""

SPELLING = {
    "macro_f1": "macro F1", "macro_auroc": "macro AUROC", "mcc": "MCC", "ece": "ECE", "macro_ap": "macro AP",
    "head_ap": "head AP", "medium_ap": "medium AP", "tail_ap": "tail AP", "micro_f1": "micro F1",
    "macro_ece": "macro ECE",
    "macro_f1_at_half": "macro F1 at 0.5", "micro_f1_at_half": "micro F1 at 0.5",
}  # fmt: skip

_COLUMNS = {False: ("precision", "recall", "f1", "auroc"), True: ("ap", "auroc", "f1", "precision", "recall")}
"""Whether images carry several labels -> numbers of each class that are shown."""
_WITH_INTERVAL = {False: "recall", True: "ap"}
_HEADINGS: dict[str, str] = {"f1": "F1", "auroc": "AUROC", "ap": "AP"}

MIN_WIDTH = 110
"""Columns of output to a pipe or a file; a terminal with fewer is shown no full class names."""


def print_summary(found: dict[str, Any], console: Console | None = None) -> None:
    """Prints what a person wants to know of a run: protocol, overall numbers with intervals, numbers per class.

    Args:
        found: as returned by `ltmed.runs.record.collect` or `ltmed.runs.record.read`.
        console: where to; None writes to standard output, plain text where that is not a terminal.
    """
    if console is None:
        console = Console()
        if not console.is_terminal:
            console = Console(width=max(console.width, MIN_WIDTH))
    console.print(Group(_protocol(found), _overall(found), _classes(found, named=console.width >= MIN_WIDTH)))


def _protocol(found: dict[str, Any]) -> Text:
    run, split = found["run"], found["split"]
    parts = ", ".join(f"{part} {number:,}" for part, number in split["images"].items())
    lines = [
        f"{run['method']} on {run['dataset']}, fold {run['fold']}, seed {run['seed']}",
        f"Split: {split['name']} (hash {split['hash']}): {parts} images",
        f"Leakage: {leakage(split)}",
    ]
    if cut := split.get("imbalance"):
        counts = ", ".join(f"{code} {n:,} of {cut['requested'][code]:,}" for code, n in cut["achieved"].items())
        lines.append(f"Long tail: {cut['achieved_ratio']:.1f} : 1, {cut['ratio']:g} : 1 requested ({counts})")
    if found["test"]["absent"]:
        absent = ", ".join(found["test"]["absent"])
        lacking = "positive (or no negative) test images" if "thresholds" in found["test"] else "test images"
        lines.append(f"No {lacking} of {absent}: not scored, not part of any average.")
    if found["skipped"]:
        lines.append(f"Unreadable, took no part: {len(found['skipped']):,} images (metrics.json lists them).")
    lines += [f"Warning: {sentence}." for sentence in found.get("warnings", ())]
    return Text("\n".join(["", *lines]))


def leakage(split: dict[str, Any]) -> str:
    """What metrics.json says about images of one group on both sides of a split, in words."""
    found, group = split["leakage"], split["group"]
    if found is None:
        return "unknown, the data set says nothing on which images are of one lesion or patient"
    if not found["leaking"]:
        return f"none, no {group} has images in both training and test part"
    share = f"{100 * found['fraction']:.1f} % of the test images ({found['leaking']:,} of {found['images']:,})"
    return f"{share} are of a {group} that has training images too"


def _overall(found: dict[str, Any]) -> Group:
    test, intervals = found["test"], found["test"]["intervals"]
    table = _table("metric")
    for heading in ("test", f"{100 * intervals['level']:.0f} % interval", "validation"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, value in test["scalars"].items():
        table.add_row(
            SPELLING.get(name, name.replace("_", " ")),
            _number(value),
            _interval(intervals["scalars"][name]),
            _number(found["val"]["scalars"][name]),
            style="bold" if name in ("balanced_accuracy", "macro_f1", "macro_ap") else "",
        )
    drawn = f"{intervals['resamples']:,} resamples of {intervals['units']:,} {intervals['unit']}s"
    return _titled(f"Test part, {test['images']:,} images", table, f"Intervals: percentiles over {drawn}.")


def _classes(found: dict[str, Any], named: bool) -> Group:
    rows, intervals = found["test"]["per_class"], found["test"]["intervals"]["per_class"]
    trained, notes = found["split"]["counts"]["train"], [f"Tiers: {found['tiers']['rule']}."]
    multilabel = "thresholds" in found["test"]
    shown, with_interval = _COLUMNS[multilabel], _WITH_INTERVAL[multilabel]
    if multilabel:
        notes.append("F1, precision and recall are those at the thresholds that the validation part chose.")
    if len(rows) > MOST_ROWS:
        notes.append(f"The {MOST_ROWS} lowest F1 of {len(rows)} classes; metrics.json has all.")
        rows = sorted(rows, key=lambda row: (row["f1"] is None, row["f1"]))[:MOST_ROWS]
    if any(0 < row["support"] < LOW_SUPPORT for row in rows):
        notes.append(f"! fewer than {LOW_SUPPORT} test images: neither the number nor its interval says much.")
    table = _table("class")
    table.add_column("tier", no_wrap=True)
    headings = ["train", "test"]
    for name in shown:
        headings += [_HEADINGS.get(name, name), *["interval"] * (name == with_interval)]
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True, min_width=5)  # The name may be cut, a number not.
    if named:
        table.add_column("name", no_wrap=True)
    for row in rows:
        cells = [
            Text(row["class"]),
            row["tier"],
            f"{trained[row['class']]:,}",
            f"{row['support']:,}{'!' if 0 < row['support'] < LOW_SUPPORT else ' '}",
            *(
                cell
                for name in shown
                for cell in (
                    _number(row[name]),
                    *[_interval(intervals[row["class"]][name])] * (name == with_interval),
                )
            ),
            Text("" if row["name"] == row["class"] else row["name"]),
        ]
        table.add_row(*cells[: len(table.columns)])
    return _titled("Per class", table, *notes)


def _table(first: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    table.add_column(first, no_wrap=True)
    return table


def _titled(title: str, table: Table, *notes: str) -> Group:
    return Group(Text(f"\n{title}", style="bold"), table, *(Text(note, style="dim") for note in notes))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _interval(bounds: list[float | None]) -> str:
    return "-" if None in bounds else f"{bounds[0]:.3f} to {bounds[1]:.3f}"
