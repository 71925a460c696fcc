"""`ltmed demo`: what the package is for, on data that it brings along."""

from __future__ import annotations

from pathlib import Path

import click

from ltmed.config.overrides import setting, values
from ltmed.errors import UserError

STUDY = "phantom/demo"
REPORT = "report.html"


@click.command()
@click.argument("overrides", nargs=-1)
def command(overrides: tuple[str, ...]) -> None:
    """Trains ERM and two remedies for rare classes on generated images, and writes a report; under three minutes.

    OVERRIDES hold for all three, for instance runs=DIR or trainer=cpu. The same command continues what was stopped.
    """
    for override in overrides:
        if "=" not in override:
            raise UserError(f"'{override}' is not a setting", "For instance: ltmed demo runs=DIR.")
    from ltmed.cli import report, train
    from ltmed.studies.catalogue import load

    paper, table = STUDY.split("/")
    train.main(["-m", f"+{paper}={table}", *overrides], program="ltmed train")
    folders = [override for override in overrides if setting(override) == "runs"]
    runs = values(folders[-1])[0] if folders else None
    file = Path(runs or "runs", paper, REPORT)
    _print_recalls([(cell.row, cell.run_dir) for cell in load(STUDY).cells(overrides)])
    report.command.main([STUDY, *overrides, "--output", str(file)], prog_name="ltmed report", standalone_mode=False)


def _print_recalls(rows: list[tuple[str, Path]]) -> None:
    """Prints what the demo shows: the recall of frequent and of rare classes, side by side."""
    from ltmed.runs.reader import read_run

    columns = {
        "head_recall": "head",
        "medium_recall": "medium",
        "tail_recall": "tail",
        "balanced_accuracy": "all classes",
    }
    width = max(len(row) for row, _ in rows)
    click.echo(f"\n{'Recall in percent':<{width}}" + "".join(f"{title:>13}" for title in columns.values()))
    for row, folder in rows:
        run = read_run(folder)
        assert run is not None
        scalars = run.metrics["test"]["scalars"]
        click.echo(f"{row:<{width}}" + "".join(f"{100 * scalars[key]:>13.0f}" for key in columns))
    click.echo()
