"""Writes the results of finished runs as one table: `python experiments/collect.py RUNS... > results.csv`."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path


def rows(folder: Path) -> Iterator[list[object]]:
    """One row per test metric of every finished run below `folder`, with its 95 % interval where it has one."""
    for file in sorted(folder.rglob("metrics.json")):
        result = json.loads(file.read_text())
        run, split, test = result["run"], result["split"], result["test"]
        intervals = test["intervals"]["scalars"]
        cell = [run["dataset"], run["method"], file.parent.parent.name, run["fold"], run["seed"]]
        for metric, value in test["scalars"].items():
            low, high = intervals.get(metric, ("", ""))
            yield [*cell, split["name"], split["hash"], result["git"]["commit"], metric, value, low, high]


if __name__ == "__main__":
    table = csv.writer(sys.stdout, lineterminator="\n")
    columns = "dataset,method,overrides,fold,seed,split,split_hash,commit,metric,value,low95,high95"
    table.writerow(columns.split(","))
    for argument in sys.argv[1:]:
        table.writerows(rows(Path(argument)))
