"""Small data for figures, and a finished run made by hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from omegaconf import OmegaConf

from ltmed.evaluation.metrics import Evaluation, evaluate
from ltmed.evaluation.tiers import tiers
from ltmed.plots import style
from ltmed.runs import record
from tests.run_json import write_facts

LONG = "ulcerative colitis, grade {} (endoscopy of the lower tract)"


@dataclass(frozen=True)
class Case:
    """K classes with training images that fall from 500 to 5, in mixed order; the last class has no test images."""

    classes: list[str]
    counts: list[int]
    tiers: list[str]
    confusion: list[list[int]]
    recall: list[float | None]
    intervals: list[list[float | None]]


def case(number: int, name: str = "C{}") -> Case:
    rng = np.random.default_rng(0)
    counts = [int(n) for n in rng.permutation(np.geomspace(500, 5, number))]
    classes = [name.format(k) for k in range(number)]
    members = tiers(counts, classes)
    confusion = rng.integers(0, 3, (number, number)) + 9 * np.eye(number, dtype=int)
    confusion[-1] = 0
    recall = [float(row[k] / row.sum()) if row.sum() else None for k, row in enumerate(confusion)]
    return Case(
        classes=classes,
        counts=counts,
        tiers=[next(tier for tier, ks in members.items() if k in ks) for k in range(number)],
        confusion=confusion.tolist(),
        recall=recall,
        intervals=[[None, None] if r is None else [max(0, r - 0.1), min(1, r + 0.1)] for r in recall],
    )


def saved(figure: Figure, folder: Path) -> Figure:
    """The figure, which can be written as a PNG and leaves nothing else behind."""
    file = folder / "figure.png"
    style.save(figure, file)
    assert file.read_bytes().startswith(b"\x89PNG")
    assert not list(folder.glob("*.partial"))
    return figure


def make_run(
    folder: Path, method: str = "erm", dataset: str = "toy", seed: int = 0, stages: dict[str, Any] | None = None
) -> Path:
    """Writes what a finished run of 3 classes leaves, but for its split; its data root does not exist."""
    rng = np.random.default_rng(seed)
    codes, counts = ("a", "b", "c"), {"a": 100, "b": 30, "c": 5}
    labels = torch.arange(30) % 3
    probabilities = torch.from_numpy(rng.dirichlet([1.0, 1, 1], 30)).float()
    evaluation = Evaluation(probabilities, labels, torch.arange(30), codes)
    report = evaluate(evaluation, {"head": [0], "medium": [1], "tail": [2]})
    tier = dict(zip(codes, ("head", "medium", "tail"), strict=True))
    bounds = {code: {name: [0.1, 0.9] for name in ("precision", "recall", "f1", "auroc")} for code in codes}
    found = {
        "run": {"name": "r", "dataset": dataset, "method": method, "fold": 0, "seed": seed},
        "test": {
            "scalars": report.scalars(),
            "intervals": {"per_class": bounds},
            "per_class": [
                {**row, "name": row["class"].upper(), "tier": tier[row["class"]]} for row in report.per_class
            ],
            "confusion": report.confusion,
        },
        "val": {"scalars": report.scalars()},
        "split": {"name": "grouped", "hash": "abc", "counts": {"train": counts, "val": counts, "test": counts}},
    }
    stages = stages or {"train": {}}
    optimizer = {"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.1}
    recipe = {"keep": "best", "schedule": None, "optimizer": optimizer, "module": {"_target_": "ltmed.methods.erm.ERM"}}
    config = {
        "method": {"name": method, "stages": {name: {**recipe, **more} for name, more in stages.items()}},
        "dataset": {"_target_": "ltmed.data.readers.isic2018.ISIC2018", "root": "/no/such/folder", "threads": 1},
        "split": {"_target_": "ltmed.data.splits.protocols.grouped", "_partial_": True},
        "evaluation": {"_target_": "ltmed.data.augment.EvaluationView", "size": 32, "crop": True},
        "pixels": {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear"}, "cache_scale": 1.0,
        "monitor": "balanced_accuracy", "fold": 0, "seed": seed, "image_size": 32, "cache_dir": "/no/such/cache",
    }  # fmt: skip
    folder.mkdir(parents=True)
    OmegaConf.save(OmegaConf.create(config), folder / "config.yaml")
    write_facts(folder, config)
    columns: dict[str, Any] = {"image": [f"{n}.png" for n in range(30)], "label": [codes[k] for k in labels.tolist()]}
    columns["predicted"] = [codes[k] for k in probabilities.argmax(1).tolist()]
    columns.update({f"prob_{code}": probabilities[:, k].numpy() for k, code in enumerate(codes)})
    pd.DataFrame(columns).to_parquet(folder / record.PREDICTIONS)
    lines = ["stage,epoch,step,name,value"]
    for name in stages:
        for epoch in range(4):
            lines += [f"{name},{epoch},{10 * epoch},{name}/train/lr,{0.1 * (4 - epoch)}"]
            lines += [f"{name},{epoch},{10 * epoch + 9},{name}/train/loss,{1 / (epoch + 1)}"]
            lines += [f"{name},{epoch},{10 * epoch + 9},{name}/val/{m},{0.1 * epoch}" for m in report.scalars()]
    (folder / "metrics.csv").write_text("\n".join(lines) + "\ntest,,,test/accuracy,0.5\n")
    (folder / record.METRICS).write_text(record.to_json(record.without_nan(found)))
    return folder


def add_checkpoint(run: Path, stage: str, epoch: int, **state: torch.Tensor) -> None:
    """Writes `best.ckpt` of a stage; in names `__` stands for a dot."""
    folder = run / "stages" / stage
    folder.mkdir(parents=True)
    tensors = {name.replace("__", "."): tensor for name, tensor in state.items()}
    torch.save({"epoch": epoch, "state_dict": tensors}, folder / "best.ckpt")
