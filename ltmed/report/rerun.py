"""The command that makes a run, read back from the name of its folder."""

from __future__ import annotations

import re
from pathlib import Path

from ltmed.config.overrides import PROGRAM, quoted, setting, shell
from ltmed.runs.reader import Division, Run


def command(run: Run, division: Division, seed: int) -> str:
    """The command that starts or finishes `run` with this fold, split seeds and seed, as its folder's name tells it.

    The name holds the words of the command line unless they were too long or could not be written in it
    (`ltmed.runs.directory.run_dir_name`), or the folder was chosen by the user: then the answer says so.
    """
    cfg = run.config
    words = _words(run)
    draw = zip(run.split_seeds.items(), division.draw, strict=True)
    other = {key: f"{key}={value}" for (key, own), value in draw if own != value}
    last = [*other.values(), f"fold={division.fold}", f"seed={seed}"]
    if words is None:
        known = run.path / "config.yaml"
        return f"# {' '.join(last)} and else as {known} (the folder's name has not all words)"
    *_, dataset, _, _, _ = run.path.absolute().parts
    choices = [f"method={cfg.method.name}", f"dataset={dataset}"]
    root = str(cfg.dataset.get("root") or "")
    if root and not root.startswith(str(cfg.cache_dir)):
        choices.append(f"dataset.root={quoted(root)}")
    runs = run.path.absolute().parents[3]
    if runs != Path("runs").absolute():
        here = Path.cwd()
        choices.append(f"runs={quoted(str(runs.relative_to(here) if runs.is_relative_to(here) else runs))}")
    kept = [word for word in words if setting(word) not in other]
    return shell([*PROGRAM, *choices, *kept, *last])


def _words(run: Run) -> list[str] | None:
    """The overrides in the folder's name, or None if it does not hold them."""
    parts = run.path.absolute().parts
    if len(parts) < 5:
        return None
    *_, method, overrides, last = parts
    cfg = run.config
    named = method == cfg.method.name and last == f"fold{cfg.fold}-seed{cfg.seed}"
    if not named or re.search(r"-[0-9a-f]{8}$", overrides):
        return None
    if overrides == "default":
        return []
    stages = set(cfg.method.get("stages", {}))
    return [f"method.stages.{word}" if word.split(".")[0] in stages else word for word in overrides.split(",")]
