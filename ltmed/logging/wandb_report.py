"""A Weights & Biases report that compares methods on each data set, from the runs of a project."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from importlib.util import find_spec
from typing import Any

from ltmed.errors import UserError

SCORES = {
    "balanced accuracy": ["test/balanced_accuracy"],
    "macro F1": ["test/macro_f1"],
    "recall of head, medium and tail": ["test/head_recall", "test/medium_recall", "test/tail_recall"],
    "calibration error": ["test/ece"],
}
SCORES_OF_LABELS = {
    "mean average precision": ["test/macro_ap"],
    "macro F1 at the chosen thresholds": ["test/macro_f1"],
    "average precision of head, medium and tail": ["test/head_ap", "test/medium_ap", "test/tail_ap"],
    "mean calibration error of the labels": ["test/macro_ece"],
}
CURVES = {"validation: balanced accuracy": r".*/val/balanced_accuracy", "training loss": r".*/train/loss"}
CURVES_OF_LABELS = {"validation: mean average precision": r".*/val/macro_ap", "training loss": r".*/train/loss"}
FIGURES = ["figures/confusion_matrix", "figures/recall_by_size", "figures/reliability"]
FIGURES_OF_LABELS = ["figures/ap_by_positives", "figures/precision_recall", "figures/co_occurrence"]
ROW = "row"
"""Key that all folds and seeds of a method with its settings have in common."""
WIDTH, HEIGHT = 12, 8
"""Of a panel; W&B's page has 24 columns."""


def plan(
    datasets: Sequence[str],
    entity: str | None,
    project: str,
    split: str | None = None,
    several_labels: Collection[str] = (),
) -> dict[str, Any]:
    """What the report holds, as plain data: one section per data set with its runs and panels.

    Args:
        datasets: names as in the runs' tags.
        entity: user or team; None is the account's default.
        project: where the runs are.
        split: only runs with this tag of a split, since others test on other images.
        several_labels: those of the data sets whose images carry several labels.
    """
    return {
        "title": f"Methods on {', '.join(datasets)}",
        "entity": entity,
        "project": project,
        "sections": [
            {
                "title": dataset,
                "tags": [dataset, *([split] if split else [])],
                "groupby": ROW,
                "panels": _panels(dataset in several_labels),
            }
            for dataset in datasets
        ],
    }


def _panels(several_labels: bool) -> list[dict[str, Any]]:
    scores, curves, figures = (
        (SCORES_OF_LABELS, CURVES_OF_LABELS, FIGURES_OF_LABELS) if several_labels else (SCORES, CURVES, FIGURES)
    )
    return [
        *({"kind": "bars", "title": title, "metrics": names} for title, names in scores.items()),
        *({"kind": "lines", "title": title, "regex": regex} for title, regex in curves.items()),
        {"kind": "figures", "title": "figures", "keys": figures},
        {"kind": "settings", "title": "settings that differ"},
    ]


def build(planned: dict[str, Any]) -> Any:
    """The report of a plan, not yet saved."""
    import wandb_workspaces.expr as expr
    from wandb_workspaces.reports import v2

    wr: Any = v2

    blocks: list[Any] = [wr.TableOfContents()]
    location = {"entity": planned["entity"] or "", "project": planned["project"]}
    for section in planned["sections"]:
        runs = wr.Runset(
            **location,
            name=section["title"],
            filters=[expr.Tags().isin([tag]) for tag in section["tags"]],
            groupby=[f"config.{section['groupby']}"],
        )
        panels = [_panel(wr, panel, number, section["groupby"]) for number, panel in enumerate(section["panels"])]
        blocks += [wr.H2(section["title"]), wr.PanelGrid(runsets=[runs], panels=panels)]
    account = {"entity": planned["entity"]} if planned["entity"] else {}
    return wr.Report(**account, project=planned["project"], title=planned["title"], blocks=blocks, width="fluid")


def _panel(wr: Any, panel: dict[str, Any], number: int, groupby: str) -> Any:
    layout = wr.Layout(x=number % 2 * WIDTH, y=number // 2 * HEIGHT, w=WIDTH, h=HEIGHT)
    # The bar or line of a method is the mean over its seeds and folds, the range their smallest and largest value.
    grouped = {"groupby": wr.Config(groupby), "groupby_aggfunc": "mean", "groupby_rangefunc": "minmax"}
    if panel["kind"] == "bars":
        metrics = [wr.SummaryMetric(name) for name in panel["metrics"]]
        return wr.BarPlot(title=panel["title"], metrics=metrics, layout=layout, **grouped)
    if panel["kind"] == "lines":
        x = wr.Metric("trainer/global_step")
        return wr.LinePlot(title=panel["title"], x=x, metric_regex=panel["regex"], layout=layout, **grouped)
    if panel["kind"] == "figures":
        return wr.MediaBrowser(title=panel["title"], media_keys=panel["keys"], num_columns=2, layout=layout)
    return wr.RunComparer(diff_only="split", layout=layout)


def save(planned: dict[str, Any]) -> str:
    """Builds and saves the report; gives its address.

    Raises:
        UserError: the library is not installed, no account is logged in, or W&B refuses the report.
    """
    if find_spec("wandb_workspaces") is None:
        raise UserError("wandb-workspaces is not installed", "pip install 'ltmed[reports]', or look with --dry-run.")
    import wandb

    try:
        logged_in = wandb.login(prompt=False, verify=False)
    except (wandb.Error, ValueError):
        logged_in = False
    if not logged_in:
        raise UserError("Nobody is logged in to Weights & Biases", "Run `wandb login`, or look with --dry-run.")
    report = build(planned)
    try:
        report.save()
    except (wandb.Error, ValueError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"The report cannot be saved: {reason}", "Check --entity and --project.") from error
    return report.url
