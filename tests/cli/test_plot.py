"""`ltmed plot` on run folders made by hand: which files it writes, what it says where something is missing."""

from __future__ import annotations

import importlib.util
from functools import partial
from importlib.machinery import ModuleSpec
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch

from ltmed.cli import plot
from ltmed.cli.main import main
from ltmed.plots import loss_gradients
from ltmed.plots.run import figures as run_figures
from ltmed.plots.run.figures import figures
from ltmed.plots.runs.comparisons import comparisons
from ltmed.report import study_table
from ltmed.report.model import Cell, Table
from ltmed.runs.reader import read_run
from ltmed.studies.axis import Axis
from tests.plots.cases import add_checkpoint, make_run
from tests.report.factory import write

ALWAYS = {"class_distribution", "confusion_matrix", "recall_by_size", "reliability", "training_curves"}


def names(folder: Path, kind: str = "png") -> set[str]:
    return {file.stem for file in folder.glob(f"*.{kind}")}


def test_one_run_into_its_own_folder(tmp_path, capsys):
    run = make_run(tmp_path / "run")
    main(["plot", str(run)])
    said = capsys.readouterr()
    assert names(run / "figures") == ALWAYS
    assert "5 figures in" in said.out
    (line,) = said.err.splitlines()
    assert line.startswith(f"no map of features for {run}: /no/such/folder")
    image = matplotlib.image.imread(run / "figures" / "confusion_matrix.png")
    assert min(image.shape[:2]) > 300
    assert np.ptp(image) > 0.5


@pytest.fixture
def few(monkeypatch) -> set[str]:
    """Runs have one figure, where only what is around the figures is tested."""
    plots = run_figures.figures
    monkeypatch.setattr(run_figures, "figures", lambda run, **_: {"confusion_matrix": plots(run)["confusion_matrix"]})
    return {"confusion_matrix"}


def test_several_runs_are_compared(few, tmp_path, capsys):
    for number, method in enumerate(("erm", "proco", "proco")):
        make_run(tmp_path / "runs" / method / str(number), method, seed=number)
    main(["plot", str(tmp_path / "runs"), "--features", "none", "--format", "svg"])
    assert names(tmp_path / "runs" / "figures", "svg") == {"methods_per_class_f1", "methods_recall_by_size"}
    said = capsys.readouterr()
    assert "2 comparisons in" in said.out
    assert not said.err
    main(["plot", str(tmp_path / "runs"), "--features", "none", "--output", str(tmp_path / "out")])
    assert names(tmp_path / "out") == {"methods_per_class_f1", "methods_recall_by_size"}
    assert names(tmp_path / "out" / "proco" / "1") == few


def test_seeds_are_averaged_and_data_sets_kept_apart(tmp_path):
    made = [("erm", "toy", 0), ("proco", "toy", 1), ("proco", "toy", 2), ("erm", "other", 0)]
    runs = [read_run(make_run(tmp_path / str(i), *one)) for i, one in enumerate(made)]
    assert all(runs)
    found = {one.name: one.figure for one in comparisons([run for run in runs if run])}
    assert {name.partition("-")[2][:3] for name in found} == {"toy"}
    bars = next(figure for name, figure in found.items() if "f1" in name).axes[0].patches
    f1 = [[row["f1"] for row in run.metrics["test"]["per_class"]] for run in runs if run]
    expected = [*f1[0], *np.mean([f1[1], f1[2]], 0)]
    shown = [bar.get_width() for bar in bars]  # pyright: ignore[reportAttributeAccessIssue]
    np.testing.assert_allclose(shown, expected)


def test_nothing_to_compare_is_reported(few, tmp_path, capsys):
    for seed in (0, 1):
        make_run(tmp_path / str(seed), seed=seed)
    main(["plot", str(tmp_path), "--features", "none"])
    assert "Nothing to compare" in capsys.readouterr().out


def test_learning_rate_is_the_logged_one(tmp_path):
    run = read_run(make_run(tmp_path / "run"))
    assert run
    figure = figures(run)["training_curves"]()
    assert figure is not None
    epochs, rates = (np.asarray(values) for values in figure.axes[2].lines[0].get_data())
    np.testing.assert_allclose(rates, [0.4, 0.3, 0.2, 0.1])
    assert epochs.tolist() == [0, 1, 2, 3]


def test_a_figure_that_fails_is_a_warning_and_stops_no_other(tmp_path):
    folder = make_run(tmp_path / "run")
    run = read_run(folder)
    assert run
    (folder / "predictions.parquet").write_text("broken")
    (folder / "metrics.csv").unlink()
    with pytest.warns(UserWarning, match="reliability|is missing") as warned:
        files = run_figures.save(run, tmp_path / "out")
    assert {file.stem for file in files} == ALWAYS - {"reliability", "training_curves"}
    reliability, curves = (str(one.message) for one in warned)
    assert reliability.startswith(f"no figure reliability of {folder}: ")
    assert curves == f"{folder / 'metrics.csv'} is missing: training curves are not plotted"


def test_a_damaged_checkpoint_is_reported_once(tmp_path):
    folder = make_run(
        tmp_path / "run", "proco", stages={"train": {"module": {"_target_": "ltmed.methods.proco.ProCo"}}}
    )
    add_checkpoint(folder, "train", 2, omega=torch.tensor([0.5, 0.2, 0.1]))
    file = folder / "stages" / "train" / "best.ckpt"
    file.write_bytes(file.read_bytes()[:300])
    run = read_run(folder)
    assert run
    with pytest.warns(UserWarning, match="damaged") as warned:
        drawn = {name for name, plot in figures(run).items() if plot() is not None}
    assert drawn == ALWAYS
    (said,) = warned
    assert f"{file} is damaged. Copy the run again" in str(said.message)


@pytest.mark.parametrize(("file", "text"), [("config.yaml", "a: ["), ("config.yaml", "- 1"), ("metrics.json", '{"a')])
def test_one_damaged_run_stops_no_other(file, text, few, tmp_path, capsys):
    folders = [make_run(tmp_path / "runs" / method, method) for method in ("erm", "proco", "lmd")]
    (folders[1] / file).write_text(text)
    main(["plot", str(tmp_path / "runs"), "--features", "none"])
    printed = capsys.readouterr()
    assert f"warning: {folders[1] / file}" in printed.err
    assert "2 comparisons" in printed.out
    with pytest.raises(SystemExit) as ended:
        main(["plot", str(folders[1]), "--features", "none"])
    assert ended.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_maps_of_several_runs_show_progress(few, tmp_path, capsys, monkeypatch):
    for fold, method in enumerate(("erm", "proco")):
        make_run(tmp_path / method, method, seed=fold)
    monkeypatch.setattr(plot, "feature_map", lambda *_: [])
    main(["plot", str(tmp_path)])
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"1 of 2: {tmp_path / 'erm'}", f"2 of 2: {tmp_path / 'proco'}"]


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (None, ["nowhere"], "is not a folder"),
        ("empty", ["run"], "No run in"),
        ("unfinished", ["run"], "None of the runs is finished"),
        ("run", ["run", "--format", "gif"], "gif"),
        ("run", ["run", "--features", "umap"], "umap-learn"),
        ("run", ["run", "--output", "run/config.yaml"], "--output=run/config.yaml cannot be made: it is a file"),
        ("run", ["run", "--output", "/proc/x"], "--output=/proc/x cannot be made"),
        ("run", ["run", "--output", "run/config.yaml/x"], "cannot be made: Not a directory"),
        ("run", [], "Nothing to plot"),
        ("run", ["run", "--loss", "ce"], "--loss is plotted alone"),
        ("run", ["run", "--metric", "mcc"], "--metric is for studies"),
        ("run", ["run", "--scale", "smoke"], "--scale is for studies"),
        ("run", ["run", "--class", "A"], "has no class 'A'"),
        ("run", ["run", "--side-by-side", "--features", "none"], "class_losses=true"),
        ("run", ["lmd/curve_r"], "is finished"),
        ("run", ["lmd/curve_r", "--metric", "mc"], "Did you mean 'mcc'"),
        ("run", ["--loss", "alpha"], "Did you mean 'alpa'"),
        ("run", ["--loss", "ce", "--metric", "mcc"], "--metric has no effect beside --loss"),
        ("run", ["lmd/curve_r", "--maps", "3"], "--maps has no effect on the figure of lmd/curve_r"),
        ("run", ["run", "--side-by-side", "--maps", "3"], "--maps has no effect beside --side-by-side"),
        ("run", ["--loss", "ce", "--counts", "1000"], "--counts=1000"),
        ("run", ["--loss", "ce", "--counts", "0,1"], "--counts=0,1"),
    ],
)
def test_mistakes(make, arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    find_spec = importlib.util.find_spec  # Libraries that are imported first here look for others.

    def without_umap(name: str, *package: str) -> ModuleSpec | None:
        return None if name == "umap" else find_spec(name, *package)

    monkeypatch.setattr("importlib.util.find_spec", without_umap)
    if make in ("run", "unfinished"):
        make_run(tmp_path / "run")
    elif make:
        (tmp_path / "run").mkdir()
    if make == "unfinished":
        (tmp_path / "run" / "metrics.json").unlink()
    with pytest.raises(SystemExit) as ended:
        main(["plot", *arguments])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_losses_need_no_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(loss_gradients, "gradients", partial(loss_gradients.gradients, number=9))
    main(["plot", "--loss", "ce", "--loss", "alpa gamma_neg=2", "--output", str(tmp_path), "--format", "svg"])
    assert capsys.readouterr().out == f"Written: {tmp_path / 'loss_gradients.svg'}\n"
    assert (tmp_path / "loss_gradients.svg").read_text().startswith("<?xml")


def test_a_study_is_plotted_and_what_is_missing_is_named(tmp_path, capsys, monkeypatch):
    given = {}

    def table(*arguments) -> Table:
        given["arguments"] = arguments
        run = write(tmp_path / "x", "m", scalars={"accuracy": 0.25})
        cells = {("R=1", "toy"): Cell((run,)), ("R=2", "toy"): Cell(missing=("command",))}
        return Table("A curve", ("R=1", "R=2"), ("toy",), cells, axis=Axis.read({"row": "R={x}"}, "f"))

    monkeypatch.setattr(study_table, "table", table)
    arguments = ["runs=" + str(tmp_path / "runs"), "row=LMD"]
    main(["plot", "lmd/curve_r", *arguments, "--scale", "smoke", "--metric", "accuracy"])
    printed = capsys.readouterr()
    assert given["arguments"] == ("lmd/curve_r", "smoke", tuple(arguments))
    assert printed.out == f"Written: {tmp_path / 'runs/figures/lmd-curve_r.png'}\n"
    assert printed.err == "not run: R=2\n"


def test_a_column_of_several_splits_is_refused(tmp_path, capsys, monkeypatch):
    runs = [write(tmp_path, method, split_hash=method) for method in "ab"]
    cells = {(f"R={k}", "toy"): Cell((run,)) for k, run in enumerate(runs)}
    table = Table("A curve", ("R=0", "R=1"), ("toy",), cells, axis=Axis.read({"row": "R={x}"}, "f"))
    monkeypatch.setattr(study_table, "table", lambda *_: table)
    with pytest.raises(SystemExit):
        main(["plot", "lmd/curve_r"])
    assert "several splits" in capsys.readouterr().err


def test_several_runs_side_by_side(tmp_path, capsys):
    for number, method in enumerate(("erm", "aduni")):
        folder = make_run(tmp_path / "runs" / method, method, seed=number)
        with (folder / "metrics.csv").open("a") as file:
            file.writelines(f"train,{e},{e},train/train/class_loss/{c},0.5\n" for e in range(2) for c in "abc")
    main(["plot", str(tmp_path / "runs"), "--side-by-side", "--features", "none"])
    file = tmp_path / "runs" / "figures" / "class_losses-side_by_side.png"
    assert capsys.readouterr().out == f"Written: {file}\n"
    assert file.exists()


def test_losses_of_runs_with_other_classes_do_not_share_a_figure(tmp_path, capsys):
    """The lines of classes that the first run lacks were left out without a word."""
    for number, code in enumerate("ax"):
        folder = make_run(tmp_path / "runs" / code, "erm", f"data{number}")
        metrics = folder / "metrics.json"
        metrics.write_text(metrics.read_text().replace('"a"', f'"{code}"'))
        with (folder / "metrics.csv").open("a") as file:
            file.writelines(f"train,{e},{e},train/train/class_loss/{c},0.5\n" for e in range(2) for c in (code, "b"))
    with pytest.raises(SystemExit) as ended:
        main(["plot", str(tmp_path / "runs"), "--side-by-side", "--features", "none"])
    assert ended.value.code == 2
    assert "has other classes than" in capsys.readouterr().err
    assert not (tmp_path / "runs" / "figures").exists()
