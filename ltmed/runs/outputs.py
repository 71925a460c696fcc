"""Files in the folder of a run that commands must not replace, or take for something else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from ltmed.errors import UserError
from ltmed.runs import record
from ltmed.runs.directory import CONFIG, METRICS
from ltmed.runs.facts import OVERRIDES, RUN

_FILES = (CONFIG, METRICS, OVERRIDES, RUN, record.PREDICTIONS, record.VALIDATION, "metrics.csv", "encoder.pt")
_FOLDERS = (("stages",), ("evaluations",), ("decisions",))
_FIGURES = (("figures",), ("explanations",), ("wandb",))
"""First parts of paths."""


def require_no_file_of_run(output: Path) -> None:
    """Checks that an output is not one of the files that a run, an evaluation or a decision wrote into its folder.

    Args:
        output: a file that is to be written; other files in the folder of a run are allowed.

    Raises:
        UserError: it would take the place of such a file, whether or not this exists.
    """
    for folder, inside in _runs_around(output):
        if str(inside) in _FILES or inside.parts[:1] in _FOLDERS:
            raise UserError(f"--output={output} is a file of the run in {folder}", "Choose another name.")


def require_no_figures_of_run(images: Iterable[Path]) -> None:
    """Checks that images are not figures of a run, which are found below a folder that holds runs.

    Args:
        images: files that are to be predicted.

    Raises:
        UserError: one of them is in a folder of a run that ltmed fills.
    """
    for parent in dict.fromkeys(image.parent for image in images):
        for folder, inside in _runs_around(parent):
            if inside.parts[:1] in (*_FOLDERS, *_FIGURES):
                raise UserError(
                    f"The images in {parent} are figures of the run in {folder}",
                    "Give folders of images that hold no runs, and of each run its innermost folder.",
                )


def _runs_around(path: Path) -> Iterator[tuple[Path, Path]]:
    """The folders of runs that a path is in, and the path within each."""
    path = path.expanduser().resolve()
    for folder in (path, *path.parents):
        if (folder / CONFIG).is_file() and (folder / RUN).is_file():
            yield folder, path.relative_to(folder)
