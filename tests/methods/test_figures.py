"""Figures of single methods: they show what was given, and are found through the stage that declares them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from ltmed.config.targets import UntrustedTargetError, trusted
from ltmed.methods.erm import ERM
from ltmed.methods.figures import aduni, lmd, pcct, proco
from ltmed.plots.run import figures as run_figures
from ltmed.runs.reader import read_run
from tests.plots.cases import LONG, Case, add_checkpoint, case, make_run, saved

pytestmark = pytest.mark.filterwarnings("error")
COMMON = {"class_distribution", "confusion_matrix", "recall_by_size", "reliability", "training_curves"}


@pytest.fixture(params=[2, 23, 198])
def many(request: pytest.FixtureRequest) -> Case:
    return case(request.param, LONG)


def test_centre_distances_are_euclidean(many, tmp_path):
    centres = np.random.default_rng(0).normal(size=(len(many.classes), 4))
    figure = saved(pcct.distance_matrix(centres, many.classes, many.counts), tmp_path)
    first, second = np.argsort(-np.array(many.counts), kind="stable")[:2]
    displayed = np.asarray(figure.axes[0].images[0].get_array())
    assert displayed[0, 1] == pytest.approx(np.linalg.norm(centres[first] - centres[second]))


def test_omega(many, tmp_path):
    omega = np.linspace(0.1, 0.9, len(many.classes)).tolist()
    figure = saved(proco.omega_per_class(omega, many.classes, many.tiers, many.counts), tmp_path)
    axes = figure.axes[0]
    displayed = [bar.get_width() for bar in axes.patches]  # pyright: ignore[reportAttributeAccessIssue]
    displayed += [y for line in axes.lines for y in np.asarray(line.get_ydata())]
    np.testing.assert_allclose(sorted(displayed), omega)


def test_em_trajectory_starts_before_the_first_iteration(tmp_path):
    metrics, before = {"tail_recall": [0.2, 0.3]}, {"tail_recall": 0.1}
    figure = saved(lmd.trajectory(metrics, before, [2.0, 1.0], selected=2), tmp_path)
    legend = figure.legends[0]
    messages = {text.get_text(): line for text, line in zip(legend.get_texts(), legend.get_lines(), strict=True)}
    assert messages.keys() == {"tail recall", "network of stage 1", "selected weights"}
    assert messages["selected weights"].get_linestyle() != messages["network of stage 1"].get_linestyle()
    assert [line.get_xdata()[0] for line in figure.axes[0].lines[1:]] == [0, 2]
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_xydata(), [[0, 0.1], [1, 0.2], [2, 0.3]])


def test_alpha(tmp_path):
    figure = saved(aduni.alpha_curve([1.0, 0.5, 0.1]), tmp_path)
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_xydata(), [[1, 1], [2, 0.5], [3, 0.1]])


def plotted(folder: Path) -> dict[str, Figure]:
    """The figures of a run by name."""
    run = read_run(folder)
    assert run
    made = {name: plot() for name, plot in run_figures.figures(run).items()}
    return {name: figure for name, figure in made.items() if figure is not None}


def stages(**targets: str) -> dict[str, dict]:
    return {name: {"module": {"_target_": target}} for name, target in targets.items()}


def test_omega_is_that_of_the_selected_checkpoint(tmp_path):
    run = make_run(tmp_path / "run", "proco", stages=stages(train="ltmed.methods.proco.ProCo"))
    assert plotted(run).keys() == COMMON, "without the checkpoint there is none"
    add_checkpoint(run, "train", 2, omega=torch.tensor([0.5, 0.25, 0.125]))
    bars = plotted(run)["omega"].axes[0].patches
    assert [bar.get_width() for bar in bars] == [0.5, 0.25, 0.125]  # pyright: ignore[reportAttributeAccessIssue]


def test_centre_distances_are_those_of_the_last_stage(tmp_path):
    targets = {"first": "ltmed.methods.pcct.SampleStage", "second": "ltmed.methods.pcct.CentreStage"}
    run = make_run(tmp_path / "run", "pcct", stages=stages(**targets))
    for factor, stage in enumerate(targets, 1):
        add_checkpoint(run, stage, 0, network__classifier__centres=factor * torch.eye(3))
    displayed = np.asarray(plotted(run)["centre_distances"].axes[0].images[0].get_array())
    assert displayed[0, 1] == pytest.approx(2 * 2**0.5)


def test_alpha_is_what_was_logged(tmp_path):
    run = make_run(tmp_path / "run", "aduni", stages=stages(train="ltmed.methods.aduni.AdUni"))
    with (run / "metrics.csv").open("a") as file:
        file.write("train,0,9,train/train/alpha,1.0\ntrain,1,19,train/train/alpha,0.5\n")
    np.testing.assert_array_equal(plotted(run)["alpha"].axes[0].lines[0].get_ydata(), [1.0, 0.5])


def test_em_trajectory_begins_with_what_the_stage_before_handed_on(tmp_path):
    targets = {"represent": "ltmed.methods.lmd.Represent", "calibrate": "ltmed.methods.lmd.Calibrate"}
    run = make_run(tmp_path / "run", "lmd", stages=stages(**targets))
    add_checkpoint(run, "represent", 3)
    figure = plotted(run)["em_trajectory"]
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), [0.3, 0, 0.1, 0.2, 0.3])
    assert "selected weights" not in {text.get_text() for text in figure.legends[0].get_texts()}
    add_checkpoint(run, "calibrate", 1)
    figure = plotted(run)["em_trajectory"]
    assert "selected weights" in {text.get_text() for text in figure.legends[0].get_texts()}
    assert list(figure.axes[1].lines[0].get_xdata()) == [2, 2], "the epoch with index 1 is the second iteration"


@pytest.mark.parametrize(
    "target", ["tests.methods.stage_of_a_stranger.Evil", "ltmed.no.such.Stage", "ltmed.plots.style.Path", "os.system"]
)
def test_only_stages_of_ltmed_are_imported(target, tmp_path):
    """The configuration of a run that somebody sent may name any code: importing it would run it."""
    import sys

    run = read_run(make_run(tmp_path / "run", stages=stages(train=target)))
    assert run
    with pytest.warns(UserWarning, match="no figures of stage 'train'"):
        actual = run_figures.figures(run)
    assert actual.keys() == COMMON | {"class_losses"}
    assert "tests.methods.stage_of_a_stranger" not in sys.modules


def test_the_process_that_trained_a_stage_of_somebody_trusts_it():
    with pytest.raises(UntrustedTargetError):
        run_figures.stage_class("tests.methods.small_flexible.Anything")
    with trusted():
        assert run_figures.stage_class("tests.methods.test_figures.Own").figures() == {"own": lmd.trajectory}


class Own(ERM):
    @classmethod
    def figures(cls):
        return {"own": lmd.trajectory}
