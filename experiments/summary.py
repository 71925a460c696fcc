"""Prints a study's table from its kept results: `python experiments/summary.py ham10000/methods [ROW...]`.

Reads experiments/<paper>/results.csv (see collect.py): mean and sample deviation over folds or seeds, 95 % intervals
(Student's t; a single run has its own bootstrap interval), best balanced accuracy first. `ltmed report` says more, but
needs the runs themselves.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev

from ltmed.config.paths import experiments
from ltmed.errors import UserError
from ltmed.report.statistics import t_interval
from ltmed.studies import catalogue

HEADINGS = ("runs", "balanced accuracy", "95 % interval", "macro F1", "accuracy", "macro AUROC", "head / medium / tail")

Run = dict[str, tuple[float, str, str]]
"""metric -> value and the ends of its interval."""


def read(file: Path) -> dict[Path, Run]:
    """The folder of each run, below `runs` -> its results; of two results of one run the later line counts."""
    runs: dict[Path, Run] = {}
    with file.open(newline="") as lines:
        for line in csv.DictReader(lines):
            place = Path(line["dataset"], line["method"], line["overrides"], f"fold{line['fold']}-seed{line['seed']}")
            runs.setdefault(place, {})[line["metric"]] = (float(line["value"]), line["low95"], line["high95"])
    return runs


def row(name: str, runs: Sequence[Run]) -> tuple[float, str]:
    """Mean balanced accuracy and the line of a table."""

    def shown(metric: str) -> str:
        values = [run[metric][0] for run in runs]
        return f"{mean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")

    main = [run["balanced_accuracy"] for run in runs]
    ends = t_interval([value for value, _, _ in main]) if len(main) > 1 else map(float, main[0][1:])
    low, high = (min(max(end, 0.0), 1.0) for end in ends)
    tiers = " / ".join(f"{mean(run[f'{tier}_recall'][0] for run in runs):.2f}" for tier in ("head", "medium", "tail"))
    cells = (
        name, str(len(runs)), shown("balanced_accuracy"), f"{low:.3f} to {high:.3f}",
        *map(shown, ("macro_f1", "accuracy", "macro_auroc")), tiers,
    )  # fmt: skip
    return mean(value for value, _, _ in main), f"| {' | '.join(cells)} |"


def main(name: str, chosen: Sequence[str]) -> None:
    """Prints the table of the study `name`, of the rows `chosen` or of all that have results."""
    study = catalogue.load(name)
    kept = read(experiments() / study.paper / "results.csv")
    cells: dict[str, list[Run]] = {}
    for cell in study.cells():
        if (place := cell.run_dir.relative_to("runs")) in kept and cell.row in (chosen or study.rows):
            cells.setdefault(cell.row, []).append(kept[place])
    print(f"| method | {' | '.join(HEADINGS)} |\n|{'---|' * (len(HEADINGS) + 1)}")
    for _, line in sorted((row(*item) for item in cells.items()), reverse=True):
        print(line)


if __name__ == "__main__":
    try:
        main(sys.argv[1], sys.argv[2:])
    except (UserError, IndexError) as error:
        sys.exit(f"error: {error if isinstance(error, UserError) else 'Which study? ' + ', '.join(catalogue.names())}")
