"""The results of a finished run: metrics.json, predictions.parquet, and tables for people.

metrics.json is strict JSON (an undefined number is null), written last of all, so that its presence means "finished":

    run         name, dataset, method, fold, seed
    test        images, scalars {name: value}, intervals {unit, units, resamples, level, seed, scalars, per_class},
                per_class [{class, name, tier, support, precision, recall, f1, auroc}], absent [class],
                confusion [true][predicted];
                of several labels (`ltmed.evaluation.multilabel`) other scalars, per_class [{..., support, unknown, ap,
                auroc, f1, precision, recall, prevalence, ece, threshold}], and instead of the confusion
                thresholds {label: probability}, chosen on the validation part
    val         images, scalars: the validation part at the selected checkpoint
    split       name, hash, images {part: n}, counts {part: {class: n}}, group (what must not be divided, or null),
                leakage {images, leaking, fraction, per_class} or null,
                imbalance {rule, ratio, n0, rounding, fixed_test, achieved_ratio, available {class: n},
                requested {class: n}, achieved {class: n}} or null
    tiers       rule, head [class], medium [class], tail [class]
    stages      {stage: {epochs, seconds, device, processes, peak_memory_bytes}}: the cost of training
    skipped     [{image, reason}]: unreadable images that took no part
    warnings    [sentence]: what reading the data set warned of
    versions    {package: version or null}
    git         {commit, dirty}; both null when the code is not in a git checkout
"""

from __future__ import annotations

import json
import math
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltmed.runs.directory import METRICS, DamagedRunError
from ltmed.utils.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from omegaconf import DictConfig

    from ltmed.data.datamodule import DataModule
    from ltmed.data.manifest import Manifest
    from ltmed.evaluation.metrics import Evaluation, Report
    from ltmed.evaluation.multilabel import MultilabelReport

PREDICTIONS, VALIDATION = "predictions.parquet", "validation.parquet"
ATTRIBUTE = "attribute_"
"""What the columns of attributes (age, sex, ...) begin with."""
_PARTS = {
    "run": ("dataset", "method", "fold", "seed"),
    "test": ("scalars", "per_class", "intervals"),
    "val": ("scalars",),
    "split": ("name", "hash"),
}
"""Required sections of metrics.json -> their required keys."""
PACKAGES = (
    "ltmed", "torch", "torchvision", "lightning", "torchmetrics", "timm", "hydra-core", "numpy",
    "opencv-python-headless",
)  # fmt: skip


def read(run_dir: Path) -> dict[str, Any] | None:
    """The metrics of a finished run, or None if there is none in `run_dir`.

    Raises:
        DamagedRunError: the file is not what a run writes.
    """
    file = run_dir / METRICS
    try:
        metrics = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:  # Also text that is not UTF-8.
        raise DamagedRunError(file, f"cannot be read ({error})") from None
    for part, keys in _PARTS.items():
        section = metrics.get(part) if isinstance(metrics, dict) else None
        missing = [key for key in keys if not isinstance(section, dict) or key not in section]
        if missing:
            raise DamagedRunError(file, f"has no {part}.{missing[0]}")
    return metrics


def collect(
    cfg: DictConfig, data: DataModule, evaluations: dict[str, Evaluation], stages: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """Everything that metrics.json holds (see the top of this file).

    Args:
        cfg: the run's config, for its name, fold and seed.
        data: the opened data set.
        evaluations: predictions for "val" and "test".
        stages: the cost of training (`ltmed.runs.facts.durations`).
    """
    from ltmed.data.splits.imbalance import LongTailedSplit
    from ltmed.evaluation.scoring import report_of
    from ltmed.evaluation.tiers import RULE

    manifest, evaluation, cuts = data.manifest, evaluations["test"], thresholds(evaluations)
    groups = None if manifest.groups is None else manifest.groups[evaluation.indices.cpu().numpy()]
    dataset, method, fold, seed = manifest.name, str(cfg.method.name), int(cfg.fold), int(cfg.seed)
    listed = bool(cfg.dataset.get("head") or cfg.dataset.get("tail"))
    metrics = {
        "run": {
            "name": f"{dataset}-{method}-fold{fold}-seed{seed}",
            "dataset": dataset,
            "method": method,
            "fold": fold,
            "seed": seed,
        },
        "test": scored(evaluation, manifest.class_names, data.tiers, groups, manifest.group_name, cuts),
        "val": {
            "images": len(evaluations["val"].labels),
            "scalars": report_of(evaluations["val"], data.tiers, cuts).scalars(),
        },
        "split": {
            "name": data.split.name,
            "hash": data.digest,
            "images": {part: len(rows) for part, rows in data.split.parts.items()},
            "counts": {part: _by_class(manifest, n) for part, n in data.split.counts(manifest).items()},
            "group": None if groups is None else manifest.group_name,
            "leakage": data.split.leakage(manifest),
            "imbalance": data.split.imbalance(manifest) if isinstance(data.split, LongTailedSplit) else None,
        },
        "tiers": {
            "rule": "listed by the data set; the rest is medium" if listed else RULE,
            **{tier: [manifest.classes[k] for k in members] for tier, members in data.tiers.items()},
        },
        "stages": stages,
        "skipped": [
            {"image": manifest.images[row], "reason": reason} for row, reason in (data.cache.bad if data.cache else ())
        ],
        "warnings": list(data.warnings),
        "versions": {"python": platform.python_version(), **{package: _version(package) for package in PACKAGES}},
        "git": git_state(Path(__file__).parent),
    }
    return without_nan(metrics)


def thresholds(evaluations: dict[str, Evaluation]) -> np.ndarray | None:
    """Thresholds `[K]` of several labels, chosen on the validation part alone; None where images have one label."""
    from ltmed.evaluation.operating_points import label_thresholds

    return label_thresholds(evaluations["val"]) if evaluations["val"].multilabel else None


def _decisions(
    report: Report | MultilabelReport, classes: Sequence[str], thresholds: np.ndarray | None
) -> dict[str, Any]:
    if thresholds is None:
        return {"confusion": getattr(report, "confusion")}  # noqa: B009
    return {"thresholds": dict(zip(classes, thresholds.tolist(), strict=True))}


def scored(
    evaluation: Evaluation,
    class_names: Sequence[str],
    tiers: dict[str, list[int]],
    groups: np.ndarray | None,
    group_name: str,
    thresholds: np.ndarray | None = None,
) -> dict[str, Any]:
    """The section `test` of metrics.json for some predictions, NaN included.

    Args:
        evaluation: predictions `[N, K]`.
        class_names: K full names.
        tiers: class indices of `head`, `medium` and `tail`.
        groups: int64 `[N]`, images that are resampled together; None for single images.
        group_name: what a group is.
        thresholds: `[K]` of several labels, from `thresholds`.
    """
    from ltmed.evaluation.bootstrap import bootstrap
    from ltmed.evaluation.scoring import report_of

    report = report_of(evaluation, tiers, thresholds)
    unit = "image" if groups is None else group_name
    intervals = bootstrap(evaluation, tiers, thresholds=thresholds, groups=groups, unit=unit)
    tier_of = {k: tier for tier, members in tiers.items() for k in members}
    return {
        "images": len(evaluation.labels),
        "scalars": report.scalars(),
        "intervals": {
            "unit": intervals.unit,
            "units": intervals.units,
            "resamples": intervals.resamples,
            "level": intervals.level,
            "seed": intervals.seed,
            "scalars": intervals.scalars,
            "per_class": dict(zip(evaluation.classes, intervals.per_class, strict=True)),
        },
        "per_class": [
            {"class": row["class"], "name": class_names[k], "tier": tier_of[k], **row}
            for k, row in enumerate(report.per_class)
        ],
        "absent": report.absent,
        **_decisions(report, evaluation.classes, thresholds),
    }


def _by_class(manifest: Manifest, counts: np.ndarray) -> dict[str, int]:
    return dict(zip(manifest.classes, counts.tolist(), strict=True))


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def git_state(folder: Path) -> dict[str, Any]:
    """The commit that the code in `folder` is at, and whether tracked files were changed since.

    A folder inside a checkout that does not track it (an environment inside someone's project) has no commit.
    """

    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True).stdout

    try:
        if not git("ls-files", "."):
            return {"commit": None, "dirty": None}
        return {
            "commit": git("rev-parse", "HEAD").strip(),
            "dirty": bool(git("status", "--porcelain", "--untracked-files=no").strip()),
        }
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}


def without_nan(value: Any) -> Any:
    """Plain values with null in place of every number that is not finite, as strict JSON requires."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write(run_dir: Path, metrics: dict[str, Any]) -> None:
    """Writes metrics.json from `collect`, whose presence means that the run is finished: the last file of a run."""
    write_atomic(run_dir / METRICS, to_json(metrics))


def to_json(metrics: dict[str, Any]) -> str:
    """Strict JSON, indented, with each list of numbers (a row of the confusion matrix) on one line."""
    text = json.dumps(metrics, indent=2, allow_nan=False, ensure_ascii=False)
    # JSON escapes line breaks inside strings, so a raw one after the bracket means a list, never part of a name.
    return re.sub(r"\[\n([-\d.e+,\snul]+?)\n *\]", lambda numbers: f"[{' '.join(numbers[1].split())}]", text) + "\n"
