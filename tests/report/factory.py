"""Finished runs written by hand: predictions, and the figures that scikit-learn finds in them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import OmegaConf
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, recall_score

from ltmed.evaluation.scalars import SCALARS
from ltmed.runs.reader import Run, read_run
from tests.run_json import write_facts

CLASSES = ["A", "B", "C"]
LABELS = list("AAAAAABBBBCC")
METRIC = "balanced_accuracy"
HOSTILE = "<b>R&D</b> | 100 % of $a_1$ {x} \\ #~^"
"""A row's name that every format must escape."""


def config(method: str, fold: int, seed: int, **settings: Any) -> dict[str, Any]:
    """A resolved configuration, `settings` by dotted key."""
    cfg: dict[str, Any] = {
        "seed": seed, "fold": fold, "image_size": 64, "cache_dir": "/cache",
        "split": {
            "_target_": "ltmed.data.splits.protocols.grouped", "folds": 5, "test": None, "val": 0.1, "seed": 0,
        },
        "dataset": {"_target_": "reader", "root": "/data", "image_size": 64, "head": None, "fit": "squash"},
        "loss": {"_target_": "ltmed.losses.classification.cross_entropy"},
        "method": {
            "name": method,
            "stages": {"train": {"epochs": 7, "module": {"_target_": method}, "optimizer": {"lr": 0.1}}},
        },
    }  # fmt: skip
    for key, value in settings.items():
        *path, last = key.split(".")
        node = cfg
        for name in path:
            node = node.setdefault(name, {})
        node[last] = value
    return cfg


def write(
    runs: Path,
    method: str = "erm",
    fold: int = 0,
    seed: int = 0,
    *,
    predicted: Sequence[str] = LABELS,
    labels: Sequence[str] = LABELS,
    images: Sequence[str] | None = None,
    groups: Sequence[int] | None = None,
    split_hash: str | None = None,
    name: str = "grouped",
    overrides: str = "default",
    dataset: str = "toy",
    finished: bool = True,
    scalars: dict[str, float | None] | None = None,
    settings: dict[str, Any] | None = None,
) -> Run:
    """A run's folder; a fold has images and a hash of its own unless they are given."""
    folder = runs / dataset / method / overrides / f"fold{fold}-seed{seed}"
    folder.mkdir(parents=True)
    cfg = config(method, fold, seed, **(settings or {}))
    OmegaConf.save(OmegaConf.create(cfg), folder / "config.yaml")
    arguments = [f"method={method}", f"dataset={dataset}", "dataset.root=/data", f"fold={fold}", f"seed={seed}"]
    arguments += [] if overrides == "default" else overrides.split(",")
    write_facts(folder, cfg, arguments, folder.relative_to(runs).as_posix())
    if not finished:
        return Run(folder, {})
    images = images if images is not None else [f"f{fold}/{n}.png" for n in range(len(labels))]
    sure = {f"prob_{code}": np.float32(np.array(predicted) == code) for code in CLASSES}
    rows = {"image": images, "label": labels, "predicted": predicted, **sure}
    pd.DataFrame(rows if groups is None else {**rows, "lesion": groups}).to_parquet(folder / "predictions.parquet")
    found = _metrics(labels, predicted, scalars or {})
    found["run"] = {"name": "n", "dataset": dataset, "method": method, "fold": fold, "seed": seed}
    found["split"] = {
        "name": name, "hash": split_hash or f"hash{fold}",
        "images": {"train": 102 - len(labels), "val": 10, "test": len(labels)},  # As many in every fold.
        "counts": {"train": {"A": 54, "B": 26, "C": 10}, "test": {code: list(labels).count(code) for code in CLASSES}},
        "group": None if groups is None else "lesion", "imbalance": None,
        "leakage": None if groups is None else {"images": len(labels), "leaking": 3, "fraction": 3 / len(labels)},
    }  # fmt: skip
    (folder / "metrics.json").write_text(json.dumps(found))
    run = read_run(folder)
    assert run
    return run


@cache  # A quarter of the time of writing a run, and most runs have the same predictions.
def _scikit_learns(labels: tuple[str, ...], predicted: tuple[str, ...]) -> tuple[list[float], float, list[list[int]]]:
    """Recall of each class, balanced accuracy and confusion matrix."""
    recall = recall_score(labels, predicted, labels=CLASSES, average=None)
    matrix = confusion_matrix(labels, predicted, labels=CLASSES)
    return recall.tolist(), float(balanced_accuracy_score(labels, predicted)), matrix.tolist()


def _metrics(labels: Sequence[str], predicted: Sequence[str], given: dict[str, float | None]) -> dict[str, Any]:
    recall, balanced_accuracy, matrix = _scikit_learns(tuple(labels), tuple(predicted))
    own = {"balanced_accuracy": balanced_accuracy}
    own |= {f"{tier}_recall": recall[k] for k, tier in enumerate(("head", "medium", "tail"))}
    scalars = {metric: float(own.get(metric, np.mean(np.array(labels) == np.array(predicted)))) for metric in SCALARS}
    intervals = {metric: [value - 0.05, value + 0.04] for metric, value in {**scalars, **given}.items() if value}
    return {
        "test": {
            "images": len(labels), "scalars": {**scalars, **given}, "absent": [],
            "confusion": matrix,
            "intervals": {
                "unit": "image", "units": len(labels), "resamples": 1000, "level": 0.95, "seed": 0,
                "scalars": intervals,
                "per_class": {code: {"recall": [float(recall[k]) - 0.1, 1.0]} for k, code in enumerate(CLASSES)},
            },
            "per_class": [
                {
                    "class": code, "name": f"Class {code}", "tier": tier, "support": labels.count(code),
                    "precision": 0.5, "recall": float(recall[k]), "f1": 0.25, "auroc": None,
                }
                for k, (code, tier) in enumerate(zip(CLASSES, ("head", "medium", "tail"), strict=True))
            ],
        },
        "val": {"images": 10, "scalars": scalars},
        "tiers": {"rule": "thirds", "head": ["A"], "medium": ["B"], "tail": ["C"]},
        "stages": {
            "train": {"epochs": 7, "seconds": 300.0, "device": "CPU", "processes": 1, "peak_memory_bytes": 2**30},
        },
        "skipped": [], "versions": {}, "git": {"commit": "0123456789abcdef", "dirty": False},
    }  # fmt: skip
