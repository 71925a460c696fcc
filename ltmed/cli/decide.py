"""`ltmed decide`: thresholds, decisions by cost and sets, chosen on validation images and judged on test images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ltmed.errors import UserError

if TYPE_CHECKING:
    from ltmed.inference.decide import DecisionResults

MAX_CURVES = 10
"""Only so many classes have curves of their own."""


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1)
@click.option("--sensitivity", multiple=True, metavar="CLASS=SHARE", help="Threshold of a class. Repeatable.")
@click.option("--specificity", multiple=True, metavar="CLASS=SHARE", help="Likewise. Repeatable.")
@click.option("--cost", type=click.Path(path_type=Path), metavar="FILE", help="YAML, 'true class: {decision: cost}'.")
@click.option("--sets", "target", type=float, metavar="SHARE", help="Conformal sets with this coverage, such as 0.9.")
@click.option("--on", "evaluation", metavar="NAME", help="Judge on one of the run's evaluations, not on its test part.")
@click.option("--figures/--no-figures", default=True, help="Whether figures are plotted (default: yes).")
@click.option("--device", default="auto", show_default=True, help="Where validation predictions are made, if needed.")
@click.option("--trust", is_flag=True, help="Also build classes that are not part of ltmed: runs their author's code.")
def command(
    run: Path,
    overrides: tuple[str, ...],
    sensitivity: tuple[str, ...],
    specificity: tuple[str, ...],
    cost: Path | None,
    target: float | None,
    evaluation: str | None,
    figures: bool,
    device: str,
    trust: bool,
) -> None:
    """Decides with the probabilities of the finished run in the folder RUN.

    A threshold is chosen on validation images, of calibrated probabilities; sensitivity, specificity, PPV and NPV are
    of test images, with intervals. Without --sensitivity and --specificity there is a table of all classes, at Youden's
    index and at a sensitivity of 90 %. Several labels of an image are decided one by one. Nothing of the test images
    reaches a threshold, a calibration or a set. RUN needs no data, unless it has no validation.parquet;
    dataset.root=DIR then says where they are.
    """
    if target is not None and not 0 < target < 1:
        raise UserError(f"--sets={target} is no coverage", "Give a share between 0 and 1, for instance 0.9.")
    from ltmed.inference.restore import finished_run

    opened = finished_run(run)
    from ltmed.config.targets import trusted
    from ltmed.inference import decide

    points = [decide.point(text, "sensitivity", opened.classes) for text in sensitivity]
    points += [decide.point(text, "specificity", opened.classes) for text in specificity]
    costs = None if cost is None else decide.read_costs(cost, opened.classes)
    with trusted(trust):
        decisions = decide.decide_run(
            opened, points, cost=costs, target=target, evaluation=evaluation, overrides=overrides, device=device
        )
    from ltmed.cli.evaluate import remove_figures, show
    from ltmed.report.decisions.decide import decision_document
    from ltmed.report.renderers import markdown
    from ltmed.utils.files import write_atomic

    document = decision_document(decisions.results, opened.classes)
    folder = opened.path / decide.DECISIONS / (evaluation or "test")
    try:
        remove_figures(folder)
        decide.write(folder, decisions)
        write_atomic(folder / "decisions.md", markdown.render(document))
    except OSError as error:
        raise UserError(f"{error.filename or folder} cannot be written: {error.strerror or error}") from None
    show(document)
    if figures:
        _plot(folder / "figures", decisions, opened.classes)
    click.echo(f"\nResults are in {folder}")


def _plot(folder: Path, decided: DecisionResults, classes: list[str]) -> None:
    from ltmed.plots import style
    from ltmed.plots.run import decisions

    title = f"{decided.results['run']['name']} on {decided.results['on']}"
    codes = list(dict.fromkeys(point["class"] for point in decided.results["points"]))
    for code in codes[:MAX_CURVES]:
        if decided.test.of(classes.index(code)).one_sided:  # There is no curve.
            continue
        points = [point for point in decided.results["points"] if point["class"] == code]
        for name, plot in (("roc_pr", decisions.operating_curves), ("net_benefit", decisions.net_benefits)):
            figure = plot(decided.test, classes.index(code), points, f"{code}: {title}")
            style.save(figure, folder / f"{style.file_name(f'{name}_{code}')}.png")
    if decided.results["sets"] is not None:
        style.save(decisions.coverage_by_tier(decided.results["sets"], title), folder / "coverage_by_tier.png")
