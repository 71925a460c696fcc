"""Results of other images or networks never replace each other; those of the same command do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ltmed.inference.evaluation_folder import RESULTS, free_folder


def evaluation(*, own: bool = False, root: str = "/a", settings: tuple[str, ...] = (), runs=("r",), tta="none") -> dict:
    data: dict[str, Any] = {"dataset": "manifest", "root": root, "own": own, "settings": list(settings)}
    return {"data": data, "members": {"runs": list(runs), "tta": tta}}


def saved(run: Path, name: str, results: dict[str, Any]) -> None:
    (run / "evaluations" / name).mkdir(parents=True)
    (run / "evaluations" / name / RESULTS).write_text(json.dumps(results))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (evaluation(), evaluation(root="/b")),
        (evaluation(settings=("dataset.file=a.csv",)), evaluation(settings=("dataset.file=b.csv",))),
        (evaluation(runs=("r", "s")), evaluation(runs=("r", "t"))),
        (evaluation(own=True), evaluation()),
        (evaluation(own=True), evaluation(own=True, tta="flips")),
    ],
)
def test_another_evaluation_has_a_folder_of_its_own_and_the_same_one_keeps_its(tmp_path, first, second):
    assert free_folder(tmp_path, "x", first).name == "x"
    saved(tmp_path, "x", first)
    assert free_folder(tmp_path, "x", first).name == "x"
    assert free_folder(tmp_path, "x", second).name == "x-2"
    saved(tmp_path, "x-2", second)
    assert [free_folder(tmp_path, "x", results).name for results in (first, second)] == ["x", "x-2"]


def test_own_images_and_runs_may_move_and_damaged_or_older_results_are_replaced(tmp_path):
    saved(tmp_path, "own", evaluation(own=True))
    assert free_folder(tmp_path, "own", evaluation(own=True, root="/moved", runs=("moved",))).name == "own"
    older = evaluation()
    del older["data"]["settings"]
    saved(tmp_path, "older", older)
    assert free_folder(tmp_path, "older", evaluation(settings=("dataset=manifest",))).name == "older"
    saved(tmp_path, "damaged", {})
    assert free_folder(tmp_path, "damaged", evaluation()).name == "damaged"
