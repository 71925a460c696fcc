"""Where the configuration files and the studies are: those that come with the package, and the user's own.

The package's are `conf/` and `experiments/`: at the top of a checkout, or inside the installed package, where the
wheel puts them. A user's own folder adds to them: `DIR/method/mine.yaml` is `method=mine`, and `DIR/mine/lr.yaml` the
study `mine/lr`. It is named by `--config-dir DIR` or the environment variable LTMED_CONF, which may list several
(separated as in PATH), so that every process of a job finds it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from ltmed.errors import UserError

VARIABLE = "LTMED_CONF"
_PACKAGE = Path(__file__).resolve().parents[1]


def conf() -> Path:
    """The folder of configuration files that comes with the package."""
    return _shipped("conf")


def experiments() -> Path:
    """The folder of studies that comes with the package."""
    return _shipped("experiments")


def own_folders() -> tuple[Path, ...]:
    """The user's folders of configuration files, in order.

    Raises:
        UserError: one does not exist.
    """
    paths = [text for text in os.environ.get(VARIABLE, "").split(os.pathsep) if text]
    folders = tuple(Path(text).expanduser().absolute() for text in dict.fromkeys(paths))
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"The folder of configuration files {folder} does not exist", f"Correct {VARIABLE}.")
    return folders


def add_own_folder(folder: str) -> None:
    """Adds one of the user's folders of configuration files, for this process and those that it starts.

    Raises:
        UserError: it does not exist.
    """
    path = Path(folder).expanduser().absolute()
    if not path.is_dir():
        raise UserError(f"--config-dir={folder} is not a folder", "Give one that holds method/NAME.yaml and the like.")
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = os.pathsep.join([str(path), *([before] if before else [])])


def require_own_names() -> None:
    """Refuses files of the user's that would be ignored, because others of the same name are found first.

    Raises:
        UserError: names both files.
    """
    seen: dict[Path, Path] = {}
    for folder in own_folders():
        for file in (file for pattern in ("*.yaml", "*/*.yaml", "*/*.csv") for file in sorted(folder.glob(pattern))):
            name = file.relative_to(folder)
            shipped = (path for path in (conf() / name, experiments() / name) if path.is_file())
            first = next(shipped, seen.setdefault(name, file))
            if not first.samefile(file):
                raise UserError(f"{file} has the name of {first}, which would be used in its place", "Rename it.")


def config_folders() -> tuple[Path, ...]:
    """Where configuration files are looked for, in order."""
    return conf(), *own_folders()


def study_folders() -> tuple[Path, ...]:
    """Where studies are looked for, in order; those of the user hold config groups too."""
    return experiments(), *own_folders()


def groups() -> set[str]:
    """The config groups: folders of choices."""
    return {path.name for path in conf().iterdir() if path.is_dir()}


def settings() -> set[str]:
    """The settings at the top of conf/config.yaml that are not config groups."""
    text = (conf() / "config.yaml").read_text(encoding="utf-8")
    return set(re.findall(r"^(\w+):", text, re.MULTILINE)) - {"defaults", "hydra"}


def choices(group: str) -> dict[str, Path]:
    """The choices of a config group and their files, sorted; files with `_` in front are bases of others and left out.

    Args:
        group: for instance `dataset`.
    """
    files = {file.stem: file for folder in config_folders() for file in (folder / group).glob("[!_]*.yaml")}
    return dict(sorted(files.items()))


def study_file(name: str) -> Path:
    """A file of a study; it exists unless there is none of that name.

    Args:
        name: relative to a folder of studies.
    """
    files = [folder / name for folder in study_folders()]
    return next((file for file in files if file.is_file()), files[0])


def _shipped(name: str) -> Path:
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _PACKAGE.parent / name
