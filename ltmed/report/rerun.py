"""The command that repeats a run, from the recorded overrides of its own command."""

from __future__ import annotations

from pathlib import Path

from ltmed.config.overrides import PROGRAM, last_of_each, quoted, setting, shell
from ltmed.runs.division import Division
from ltmed.runs.reader import Run


def command(run: Run, division: Division, seed: int) -> str:
    """The command that starts or finishes `run` with this fold, split seeds and seed.

    It has the overrides of the run's own command. `runs` is the run's current location, relative to the working folder.
    A folder that was chosen with `run_dir`, or renamed since, is named for the run itself only.
    """
    last: dict[str, str] = {}
    if division.seeds != run.division.seeds:
        # A seed that the division lacks follows another one, as null says.
        values = {**dict.fromkeys(run.split_seeds, "null"), **dict(division.seeds)}
        last = {key: f"{key}={value}" for key, value in values.items() if value != run.split_seeds.get(key)}
    last |= {"fold": f"fold={division.fold}", "seed": f"seed={seed}"}
    overrides = [
        override for override in run.overrides if setting(override).lstrip("+") not in (*last, "runs", "run_dir")
    ]
    path, folder = run.path.absolute(), Path(run.facts["folder"] or "")
    parts = folder.parts
    if parts and path.parts[-len(parts) :] == parts:
        runs = path.parents[len(parts) - 1]
        where = [] if runs == Path("runs").absolute() else [f"runs={quoted(str(_relative(runs)))}"]
    else:
        where = [f"run_dir={quoted(str(_relative(path)))}"] if (division, seed) == (run.division, run.seed) else []
    return shell([*PROGRAM, *last_of_each(overrides), *where, *last.values()])


def _relative(path: Path) -> Path:
    """The path relative to the working folder if it is inside, else unchanged."""
    working_folder = Path.cwd()
    return path.relative_to(working_folder) if path.is_relative_to(working_folder) else path
