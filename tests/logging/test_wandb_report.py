"""`ltmed dashboard`: the plan of a W&B report, and the report that is built from it."""

from __future__ import annotations

import json

import pytest

from ltmed.cli.main import main
from ltmed.evaluation.scalars import SCALARS
from ltmed.logging import wandb_report
from ltmed.plots.run.figures import figures
from ltmed.runs.reader import read_run
from tests.logging.test_loggers import no_account
from tests.plots.cases import make_run

__all__ = ["no_account"]


def test_dry_run_prints_a_section_for_each_data_set(capsys):
    main(["dashboard", "phantom", "isic2018", "--project", "p", "--split", "grouped", "--dry-run"])
    planned = json.loads(capsys.readouterr().out)
    assert [section["tags"] for section in planned["sections"]] == [["phantom", "grouped"], ["isic2018", "grouped"]]
    shown = [name for panel in planned["sections"][0]["panels"] for name in panel.get("metrics", ())]
    assert {"test/balanced_accuracy", "test/tail_recall"} <= set(shown)


def test_plan_names_what_runs_log(tmp_path):
    names = {name for metrics in wandb_report.SCORES.values() for name in metrics}
    assert names <= {f"test/{name}" for name in SCALARS}
    run = read_run(make_run(tmp_path / "run"))
    assert run
    assert set(wandb_report.FIGURES) <= {f"figures/{name}" for name in figures(run)}


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
