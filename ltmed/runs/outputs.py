"""Outputs that the user names must not replace what a run is made of."""

from __future__ import annotations

from pathlib import Path

from ltmed.errors import UserError
from ltmed.runs import record
from ltmed.runs.directory import CONFIG, METRICS
from ltmed.runs.facts import OVERRIDES, RUN

_FILES = (CONFIG, METRICS, OVERRIDES, RUN, record.PREDICTIONS, record.VALIDATION, "metrics.csv", "encoder.pt")
_FOLDERS = ("stages", "evaluations", "decisions")


def require_no_file_of_run(output: Path) -> None:
    """Checks that an output is not one of the files that a run, an evaluation or a decision wrote into its folder.

    Args:
        output: a file that is to be written; other files in the folder of a run are allowed.

    Raises:
        UserError: it would take the place of such a file, whether or not this exists.
    """
    file = output.expanduser().resolve()
    for folder in file.parents:
        if (folder / CONFIG).is_file() and (folder / RUN).is_file():
            inside = file.relative_to(folder)
            if str(inside) in _FILES or inside.parts[0] in _FOLDERS:
                raise UserError(f"--output={output} is a file of the run in {folder}", "Choose another name.")
