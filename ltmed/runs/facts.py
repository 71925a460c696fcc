"""Facts that a run records about itself as soon as they are known, so that no later command guesses them from names.

`overrides.yaml` is the list of Hydra's overrides of the plain command. `run.json`, from the start of the run:

    choices       {config group: choice}: the data set, split, loss, ... by their names on the command line
    uses          [group]: which optional groups the method is made from
    fingerprint   equal for runs that compute the same from the same images (`ltmed.runs.directory.fingerprint`)
    folder        the run's folder below `runs`; null where the user chose it with run_dir
    split_seeds   {setting: seed}: seeds that the images were split with
    split         name, hash, listed, root, data: once the images were decoded; null before. `hash` is that of the
                  images in use, `listed` that of the split with unreadable images; `data` is a hash of all images with
                  labels and groups, the same for every split. Earlier runs lack `data`, and `listed`,
                  which their `hash` is
    pixels        store ("raw" or "jpeg"), side, fit, mean, std: once the images were decoded; null before
    weights       encoder, file: digests of the initial weights (`ltmed.runs.initial_weights`); null for random
                  weights that are trained; earlier runs lack it
    stages        {stage: {epochs: [seconds of each], device, processes, peak_memory_bytes}}: epoch by epoch

Only the first process of a run writes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltmed.runs.directory import METRICS, DamagedRunError
from ltmed.utils.files import write_atomic
from ltmed.utils.processes import is_first_process

if TYPE_CHECKING:
    from ltmed.runs.job import Job

RUN, OVERRIDES = "run.json", "overrides.yaml"
_KEYS = ("choices", "uses", "fingerprint", "folder", "split_seeds", "split", "pixels", "stages")


def begin(job: Job) -> None:
    """Writes both files into the run's folder, unless it was begun before."""
    if not is_first_process() or (job.run_dir / RUN).exists():
        return
    from omegaconf import OmegaConf

    write_atomic(job.run_dir / OVERRIDES, OmegaConf.to_yaml(OmegaConf.create(list(job.overrides))))
    _write(job.run_dir, {**job.facts, "split": None, "pixels": None, "stages": {}})


def add(run_dir: Path, **facts: Any) -> None:
    """Adds facts to run.json.

    Args:
        run_dir: of a run that was begun.
        facts: by key of run.json.
    """
    if is_first_process():
        _write(run_dir, {**read(run_dir), **facts})


def add_epoch(run_dir: Path, stage: str, epoch: int, seconds: float, **facts: Any) -> None:
    """Adds the duration of an epoch; replaces what was written about it and later epochs before a restart.

    Args:
        run_dir: of a run that was begun.
        stage: its name.
        epoch: counted from 0.
        seconds: since the end of the one before.
        facts: about the stage; `peak_memory_bytes` stays at its highest.
    """
    if not is_first_process():
        return
    recorded = read(run_dir)
    stages = recorded["stages"]
    before = stages.get(stage, {})
    peaks = [peak for peak in (before.get("peak_memory_bytes"), facts.get("peak_memory_bytes")) if peak is not None]
    stages[stage] = {
        "epochs": [*before.get("epochs", ())[:epoch], round(seconds, 3)],
        **facts,
        "peak_memory_bytes": max(peaks, default=None),
    }
    _write(run_dir, recorded)


def durations(run_dir: Path) -> dict[str, dict[str, Any]]:
    """For metrics.json: stage -> epochs, seconds, device, processes, peak_memory_bytes."""
    return {
        stage: {**facts, "epochs": len(facts["epochs"]), "seconds": round(sum(facts["epochs"]), 3)}
        for stage, facts in read(run_dir)["stages"].items()
    }


def read(run_dir: Path) -> dict[str, Any]:
    """The content of run.json.

    Raises:
        DamagedRunError: it is missing, or is not what a run writes.
    """
    file = run_dir / RUN
    try:
        recorded = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DamagedRunError(file, "is missing") from None
    except (OSError, ValueError) as error:
        raise DamagedRunError(file, f"cannot be read ({error})") from None
    for key in _KEYS:
        if not isinstance(recorded, dict) or key not in recorded:
            raise DamagedRunError(file, f"has no '{key}'")
    return recorded


def read_overrides(run_dir: Path) -> list[str]:
    """Hydra's overrides of the plain command that began the run.

    Raises:
        DamagedRunError: the file is missing, or is not a list of overrides.
    """
    from omegaconf import ListConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    file = run_dir / OVERRIDES
    try:
        overrides = OmegaConf.load(file)
    except FileNotFoundError:
        raise DamagedRunError(file, "is missing") from None
    except (YAMLError, OmegaConfBaseException, OSError, ValueError):
        raise DamagedRunError(file, "cannot be read") from None
    plain = OmegaConf.to_container(overrides) if isinstance(overrides, ListConfig) else None
    if not isinstance(plain, list) or not all(isinstance(override, str) for override in plain):
        raise DamagedRunError(file, "is not a list of overrides")
    return plain


def equal_run(job: Job, split_hash: str, weights: Mapping[str, Any] | None = None) -> Path | None:
    """The folder of another finished run that computed the same from the same images and weights, if there is one.

    Looks below `runs`, among the run folders of the data set with the same fold and seed.

    Args:
        job: of this run.
        split_hash: of its images.
        weights: that it begins with, from `ltmed.runs.initial_weights.digests`.
    """
    runs = Path(job.cfg.runs, job.name.dataset)
    for file in sorted(runs.glob(f"*/*/{job.name.version}/{RUN}")):
        folder = file.parent
        if folder.resolve() == job.run_dir.resolve() or not (folder / METRICS).exists():
            continue
        try:
            other = read(folder)
        except DamagedRunError:
            continue
        same = other["fingerprint"] == job.facts["fingerprint"] and (other["split"] or {}).get("hash") == split_hash
        begun = (other.get("weights") or {}).get("encoder")
        if same and (begun is None or weights is None or begun == weights["encoder"]):
            return folder
    return None


def _write(run_dir: Path, recorded: dict[str, Any]) -> None:
    write_atomic(run_dir / RUN, json.dumps(recorded, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
