"""Where the results of `ltmed evaluate` are: a folder of the run for each evaluation."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltmed.runs import record
from ltmed.utils.files import read_json_map, replacing, write_atomic

if TYPE_CHECKING:
    from ltmed.inference.evaluate import EvaluationResult

FOLDER, RESULTS = "evaluations", "evaluation.json"


def free_folder(run: Path, name: str, results: Mapping[str, Any]) -> Path:
    """The folder for results that were given no name: an earlier evaluation of other images or networks keeps its own.

    Args:
        run: folder of the (first) run.
        name: what the folder should be called.
        results: see `ltmed.inference.evaluate.evaluate_run`.

    Returns:
        RUN/evaluations/name, or name-2, name-3, ...: the first that is free or has the results of the same command.
    """
    number, folder = 1, run / FOLDER / name
    while (saved := _saved(folder)) is not None and not _are_of_one_source(saved, results):
        number += 1
        folder = run / FOLDER / f"{name}-{number}"
    return folder


def write(folder: Path, result: EvaluationResult) -> None:
    """Writes evaluation.json and predictions.parquet into a folder, which is made if needed.

    Raises:
        OSError: it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / record.PREDICTIONS) as partial:
        result.labelled.table.to_parquet(partial, index=False)
    group = None if result.labelled.manifest.groups is None else result.labelled.manifest.group_name
    write_atomic(folder / RESULTS, record.to_json({**result.results, "group": group}))


def _are_of_one_source(saved: Mapping[str, Any], results: Mapping[str, Any]) -> bool:
    """Whether both are of the same images, views and further networks. A run's own images may have moved."""
    before, now = saved["data"], results["data"]
    (_, *others), (_, *others_now) = ([*map(os.path.abspath, one["members"]["runs"])] for one in (saved, results))
    if others != others_now or saved["members"]["tta"] != results["members"]["tta"]:
        return False
    if before["own"] and now["own"]:
        return True
    # Results of an earlier version of ltmed do not have the settings, and may have a relative root.
    before = {"settings": now["settings"], **before, "root": os.path.abspath(before["root"])}
    return all(before[key] == now[key] for key in ("own", "dataset", "root", "settings"))


def _saved(folder: Path) -> dict[str, Any] | None:
    results = read_json_map(folder / RESULTS)
    return results if results is not None and {"members", "data"} <= results.keys() else None
