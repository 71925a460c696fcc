"""`ltmed dashboard`: the plan of a W&B report, and the report that is built from it."""

from __future__ import annotations

import json
import re

import pytest

from ltmed.cli.main import main
from ltmed.logging import wandb_report
from ltmed.plots.run.figures import figures
from ltmed.runs.reader import Run, read_run
from tests.logging.test_loggers import no_account
from tests.plots.cases import make_run

__all__ = ["no_account"]


def test_dry_run_prints_a_section_for_each_data_set(capsys):
    main(["dashboard", "phantom", "isic2018", "--project", "p", "--split", "grouped", "--dry-run"])
    planned = json.loads(capsys.readouterr().out)
    assert [section["tags"] for section in planned["sections"]] == [["phantom", "grouped"], ["isic2018", "grouped"]]
    shown = [name for panel in planned["sections"][0]["panels"] for name in panel.get("metrics", ())]
    assert {"test/balanced_accuracy", "test/tail_recall"} <= set(shown)


def require_logged(run: Run, *, several_labels: bool) -> None:
    """Every panel of the plan is of something that `run` logs."""
    (section,) = wandb_report.plan(["x"], None, "p", several_labels=["x"] if several_labels else [])["sections"]
    panels = section["panels"]
    names = {name for panel in panels for name in panel.get("metrics", ())}
    assert names
    assert names <= {f"test/{name}" for name in run.metrics["test"]["scalars"]}
    (validated, _) = (panel["regex"] for panel in panels if panel["kind"] == "lines")
    assert any(re.fullmatch(validated, f"train/val/{name}") for name in run.metrics["val"]["scalars"])
    (shown,) = (panel["keys"] for panel in panels if panel["kind"] == "figures")
    assert set(shown) <= {f"figures/{name}" for name in figures(run)}


def test_plan_names_what_runs_log(tmp_path):  # Of several labels: tests/test_several_labels.py.
    run = read_run(make_run(tmp_path / "run"))
    assert run
    require_logged(run, several_labels=False)


def test_panels_are_those_of_the_kind_of_labels(capsys):
    main(["dashboard", "odir", "isic2018", "mine", "theirs", "--several-labels", "mine", "--dry-run"])
    sections = json.loads(capsys.readouterr().out)["sections"]
    main_scores = {section["title"]: section["panels"][0]["metrics"][0] for section in sections}
    of_labels, of_classes = "test/macro_ap", "test/balanced_accuracy"
    assert main_scores == {"odir": of_labels, "isic2018": of_classes, "mine": of_labels, "theirs": of_classes}
    with pytest.raises(SystemExit):
        main(["dashboard", "odir", "--several-labels", "mein", "--dry-run"])
    assert "--several-labels=mein is none of the data sets odir" in capsys.readouterr().err


@pytest.mark.parametrize(("package", "message"), [(object(), "wandb login"), (None, "ltmed[reports]")])
def test_without_account_or_library_it_says_what_to_do(package, message, no_account, monkeypatch, capsys):
    monkeypatch.setattr(wandb_report, "find_spec", lambda name: package)
    with pytest.raises(SystemExit) as ended:
        main(["dashboard", "phantom"])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_report_is_built_as_planned():
    planned = wandb_report.plan(["phantom", "isic2018"], "team", "p")
    grids = [block for block in wandb_report.build(planned).blocks if type(block).__name__ == "PanelGrid"]
    assert [grid.runsets[0].name for grid in grids] == ["phantom", "isic2018"]
    assert "phantom" in grids[0].runsets[0].filters
    assert grids[0].runsets[0].groupby == ["config.row"]
    assert len(grids[0].panels) == len(planned["sections"][0]["panels"])
    corners = {(panel.layout.x, panel.layout.y) for panel in grids[0].panels}
    assert len(corners) == len(grids[0].panels)
