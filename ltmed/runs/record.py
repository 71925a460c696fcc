"""What a finished run leaves behind: metrics.json, predictions.parquet, and tables for people.

metrics.json is strict JSON (an undefined number is null), written last of all, so that its presence means "finished":

    run         name, dataset, method, fold, seed
    test        images, scalars {name: value}, intervals {unit, units, resamples, level, seed, scalars, per_class},
                per_class [{class, name, tier, support, precision, recall, f1, auroc}], absent [class],
                confusion [true][predicted]
    val         images, scalars: the validation part at the chosen checkpoint
    split       name, hash, images {part: n}, counts {part: {class: n}}, group (what must not be divided, or null),
                leakage {images, leaking, fraction, per_class} or null,
                imbalance {rule, ratio, n0, rounding, fixed_test, achieved_ratio, available {class: n},
                requested {class: n}, achieved {class: n}} or null
    tiers       rule, head [class], medium [class], tail [class]
    stages      {stage: {epochs, seconds, device, processes, peak_memory_bytes}}: what training took
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
from ltmed.utils.files import replacing, write_atomic

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import pandas as pd
    from omegaconf import DictConfig

    from ltmed.data.datamodule import DataModule
    from ltmed.data.manifest import Manifest
    from ltmed.evaluation.metrics import Evaluation

PREDICTIONS, VALIDATION = "predictions.parquet", "validation.parquet"
ATTRIBUTE = "attribute_"
"""What the columns of attributes (age, sex, ...) begin with."""
_PARTS = {
    "run": ("dataset", "method", "fold", "seed"),
    "test": ("scalars", "per_class", "intervals"),
    "val": ("scalars",),
    "split": ("name", "hash"),
}
"""What a report cannot do without."""
PACKAGES = (
    "ltmed", "torch", "torchvision", "lightning", "torchmetrics", "timm", "hydra-core", "numpy",
    "opencv-python-headless",
)  # fmt: skip


def read(run_dir: Path) -> dict[str, Any] | None:
    """The metrics of a finished run, or None if there is none in `run_dir`.

    Raises:
        DamagedRunError: the file is not what a run leaves.
    """
    file = run_dir / METRICS
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:  # Also text that is not UTF-8.
        raise DamagedRunError(file, f"cannot be read ({error})") from None
    for part, keys in _PARTS.items():
        held = found.get(part) if isinstance(found, dict) else None
        lacking = [key for key in keys if not isinstance(held, dict) or key not in held]
        if lacking:
            raise DamagedRunError(file, f"has no {part}.{lacking[0]}")
    return found


def collect(
    cfg: DictConfig, data: DataModule, evaluations: dict[str, Evaluation], stages: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """Everything that metrics.json holds (see the top of this file).

    Args:
        cfg: the run's config, for its name, fold and seed.
        data: the opened data set.
        evaluations: predictions for "val" and "test".
        stages: what training took (`ltmed.runs.facts.durations`).
    """
    from ltmed.data.splits.imbalance import LongTailedSplit
    from ltmed.evaluation.metrics import evaluate
    from ltmed.evaluation.tiers import RULE

    manifest, tested = data.manifest, evaluations["test"]
    groups = None if manifest.groups is None else manifest.groups[tested.indices.cpu().numpy()]
    dataset, method, fold, seed = manifest.name, str(cfg.method.name), int(cfg.fold), int(cfg.seed)
    listed = bool(cfg.dataset.get("head") or cfg.dataset.get("tail"))
    found = {
        "run": {
            "name": f"{dataset}-{method}-fold{fold}-seed{seed}",
            "dataset": dataset,
            "method": method,
            "fold": fold,
            "seed": seed,
        },
        "test": scored(tested, manifest.class_names, data.tiers, groups, manifest.group_name),
        "val": {
            "images": len(evaluations["val"].labels),
            "scalars": evaluate(evaluations["val"], data.tiers).scalars(),
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
    return without_nan(found)


def scored(
    evaluation: Evaluation,
    class_names: Sequence[str],
    tiers: dict[str, list[int]],
    groups: np.ndarray | None,
    group_name: str,
) -> dict[str, Any]:
    """What metrics.json says of predictions under `test`, NaN included.

    Args:
        evaluation: predictions `[N, K]`.
        class_names: K full names.
        tiers: class indices of `head`, `medium` and `tail`.
        groups: int64 `[N]`, images that are resampled together; None for single images.
        group_name: what a group is.
    """
    from ltmed.evaluation.bootstrap import bootstrap
    from ltmed.evaluation.metrics import evaluate

    report = evaluate(evaluation, tiers)
    intervals = bootstrap(evaluation, tiers, groups=groups, unit="image" if groups is None else group_name)
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
        "confusion": report.confusion,
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

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True).stdout

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
    """Plain values with null in place of every number that is not finite, as strict JSON wants it."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_predictions(run_dir: Path, data: DataModule, evaluation: Evaluation, file: str = PREDICTIONS) -> None:
    """Writes predictions.parquet, or validation.parquet, as a whole or not at all.

    It has one row per image of the part in manifest order: `image` (path under the data set's root),
    `label` and `predicted` (class codes), the group's number under its name (`lesion`, `patient`) where there are
    groups, `prob_<class>` (float32) for every class, and `attribute_<name>` (text) for every attribute.

    Args:
        run_dir: folder of the run.
        data: the data set, for image names and groups.
        evaluation: predictions for the part.
        file: `PREDICTIONS` of the test part, or `VALIDATION`.
    """
    with replacing(run_dir / file) as partial:
        predictions_table(data.manifest, evaluation).to_parquet(partial, index=False)


def predictions_table(manifest: Manifest, evaluation: Evaluation) -> pd.DataFrame:
    """The table of `write_predictions`; a label of -1, which is none of the classes, has an empty code."""
    import pandas as pd

    classes = evaluation.classes
    rows = evaluation.indices.cpu().numpy()
    probabilities = evaluation.probabilities.float().cpu().numpy()
    columns: dict[str, Any] = {
        "image": [manifest.images[row] for row in rows],
        "label": [classes[k] if k >= 0 else "" for k in evaluation.labels.tolist()],
        "predicted": [classes[k] for k in probabilities.argmax(1)],
    }
    if manifest.groups is not None:
        columns[manifest.group_name] = manifest.groups[rows]
    columns.update({f"prob_{code}": probabilities[:, k] for k, code in enumerate(classes)})
    columns.update({f"{ATTRIBUTE}{name}": cells[rows] for name, cells in (manifest.attributes or {}).items()})
    return pd.DataFrame(columns)


def write(run_dir: Path, found: dict[str, Any]) -> None:
    """Writes metrics.json from `collect`, whose presence means that the run is finished: the last file of a run."""
    write_atomic(run_dir / METRICS, to_json(found))


def to_json(found: dict[str, Any]) -> str:
    """Strict JSON, indented, with each list of numbers (a row of the confusion matrix) on one line."""
    text = json.dumps(found, indent=2, allow_nan=False, ensure_ascii=False)
    # JSON escapes line breaks inside strings, so a raw one after the bracket means a list, never part of a name.
    return re.sub(r"\[\n([-\d.e+,\snul]+?)\n *\]", lambda numbers: f"[{' '.join(numbers[1].split())}]", text) + "\n"
