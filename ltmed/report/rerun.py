"""The command that makes a run, read back from the name of its folder."""

from __future__ import annotations

import re
import shlex

from ltmed.runs import Run


def command(run: Run, fold: int, seed: int) -> str:
    """The command that starts or finishes `run` with this fold and seed, as far as its folder's name tells it.

    The name holds the words of the command line unless they were too long or could not be written in it
    (`ltmed.rundir.run_dir_name`), or the folder was chosen by the user: then the answer says so.
    """
    cfg = run.config
    words = _words(run)
    if words is None:
        return f"# fold={fold} seed={seed} and else as {run.path / 'config.yaml'} (the folder's name has not all words)"
    choices = [f"method={cfg.method.name}", f"dataset={run.path.parts[-4]}"]
    root = str(cfg.dataset.get("root") or "")
    if root and not root.startswith(str(cfg.cache_dir)):
        choices.append(f"dataset.root={root}")
    return shlex.join(["python", "run.py", *choices, *words, f"fold={fold}", f"seed={seed}"])


def _words(run: Run) -> list[str] | None:
    """The overrides in the folder's name, or None if it does not hold them."""
    if len(run.path.parts) < 4:
        return None
    _, method, overrides, last = run.path.parts[-4:]
    cfg = run.config
    named = method == cfg.method.name and last == f"fold{cfg.fold}-seed{cfg.seed}"
    if not named or re.search(r"-[0-9a-f]{8}$", overrides):
        return None
    if overrides == "default":
        return []
    stages = set(cfg.method.get("stages", {}))
    return [f"method.stages.{word}" if word.split(".")[0] in stages else word for word in overrides.split(",")]
