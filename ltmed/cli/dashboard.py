"""`ltmed dashboard`: a Weights & Biases report that compares methods on each data set."""

from __future__ import annotations

import json

import click


@click.command()
@click.argument("datasets", nargs=-1, required=True)
@click.option("--project", default="ltmed", show_default=True, help="W&B project with the runs.")
@click.option("--entity", metavar="NAME", help="User or team; default: the account's.")
@click.option("--split", metavar="NAME", help="Only runs of this split, for instance grouped.")
@click.option(
    "--several-labels",
    metavar="NAME",
    multiple=True,
    help="One of DATASETS whose images carry several labels (repeatable); those of ltmed are known.",
)
@click.option("--dry-run", is_flag=True, help="Print what the report would hold; needs neither account nor network.")
def command(
    datasets: tuple[str, ...],
    project: str,
    entity: str | None,
    split: str | None,
    several_labels: tuple[str, ...],
    dry_run: bool,
) -> None:
    """Builds a Weights & Biases report from the runs of a project: one section for each of DATASETS.

    The runs are those of logger=wandb, found by the tag of their data set and grouped by method and settings; offline
    ones count after `wandb sync`. The result is a draft of yours in the project's tab of reports; each call makes
    another. Needs pip install 'ltmed[reports]' and wandb login.
    """
    from ltmed.config.compose import compose
    from ltmed.config.paths import choices
    from ltmed.errors import UserError
    from ltmed.evaluation.scalars import SCALARS
    from ltmed.logging import wandb_report

    if unknown := [name for name in several_labels if name not in datasets]:
        raise UserError(
            f"--several-labels={unknown[0]} is none of the data sets {', '.join(datasets)}", "Add it there."
        )
    ours = [name for name in datasets if name in choices("dataset")]
    known = [name for name in ours if compose([f"dataset={name}"]).monitor not in SCALARS]
    planned = wandb_report.plan(datasets, entity, project, split, {*known, *several_labels})
    click.echo(json.dumps(planned, indent=2) if dry_run else wandb_report.save(planned))
