"""The command that makes a run, from what the run recorded of its own."""

from __future__ import annotations

from pathlib import Path

from ltmed.config.overrides import PROGRAM, last_of_each, quoted, setting, shell
from ltmed.runs.reader import Division, Run


def command(run: Run, division: Division, seed: int) -> str:
    """The command that starts or finishes `run` with this fold, split seeds and seed.

    It has the overrides of the run's own command. `runs` is where the run is now, as seen from the working folder; a
    folder that was chosen with `run_dir`, or renamed since, is named for the run itself only.
    """
    draw = zip(run.split_seeds.items(), division.draw, strict=True)
    last = {key: f"{key}={value}" for (key, own), value in draw if own != value}
    last |= {"fold": f"fold={division.fold}", "seed": f"seed={seed}"}
    own = [word for word in run.overrides if setting(word).lstrip("+") not in (*last, "runs", "run_dir")]
    path, folder = run.path.absolute(), Path(run.facts["folder"] or "")
    parts = folder.parts
    if parts and path.parts[-len(parts) :] == parts:
        runs = path.parents[len(parts) - 1]
        where = [] if runs == Path("runs").absolute() else [f"runs={quoted(str(_seen(runs)))}"]
    else:
        where = [f"run_dir={quoted(str(_seen(path)))}"] if (division, seed) == (run.division, run.seed) else []
    return shell([*PROGRAM, *last_of_each(own), *where, *last.values()])


def _seen(path: Path) -> Path:
    """Relative to the working folder, where it is inside."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
