"""A paper's table as one command: `ltmed train -m +lmd=table3` trains it, `ltmed report lmd/table3` collects it.

A study is a file `experiments/<paper>/<table>.yaml` (experiments/study.yaml lists its keys), read here and not by
Hydra. Each of its cells is a plain run: a list of overrides, so that its folder is that of its plain command, a cell
that stands in two tables is trained once, and finished cells are skipped. Nothing here is slow to import.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ltmed.config import overrides
from ltmed.config.paths import config_folders, groups, settings, study_file, study_folders
from ltmed.errors import UserError, suggest
from ltmed.studies.study import Study

if TYPE_CHECKING:
    from omegaconf import DictConfig


_SCALE = "scale"


def files() -> dict[str, Path]:
    """Every study, as `<paper>/<table>`, and its file; those that begin with `_` are parts of several studies."""
    paths = sorted(file for folder in study_folders() for file in folder.glob("*/[!_]*.yaml"))
    reserved = {_SCALE, *groups()}
    return {f"{file.parent.name}/{file.stem}": file for file in paths if file.parent.name not in reserved}


def names() -> list[str]:
    """The names of all studies."""
    return list(files())


def suggest_study(name: str) -> str:
    """A sentence with the studies that are named like `name`, for error messages."""
    return suggest(name, names())


def split_study(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """The study that overrides name (`+lmd=table3` -> `lmd/table3`), or None; and the other overrides.

    Raises:
        UserError: there is no such study, there are two of them, or `+scale=` has none. Also for any other setting
            that is added at the top of the configuration (`+lmdd=table3`), where nothing would read it.
    """
    further, studies = [], []
    for override in arguments:
        key, _, value = override.partition("=")
        group = key.lstrip("+")
        name = f"{group}/{value}"
        if not key.startswith("+") or not re.fullmatch(r"\w+", group) or group == _SCALE:
            further.append(override)
        elif name in names():
            studies.append(name)
        elif any((folder / group).is_dir() for folder in config_folders()):
            further.append(override)
        elif group in settings():
            raise UserError(f"{override}: '{group}' exists already", f"Write {override.lstrip('+')}.")
        elif (hint := suggest_study(name)).startswith("Did"):
            raise UserError(f"There is no study '{name}'", hint)
        else:
            raise UserError(
                f"{override}: '{group}' is neither a setting nor the folder of a study",
                f"Settings are added inside of a group: +trainer.{group}=VALUE. {hint}",
            )
    if len(set(studies)) > 1:
        raise UserError(f"{' and '.join(studies)} are two studies", "Give one command for each.")
    scales = [override for override in further if overrides.setting(override).lstrip("+") == _SCALE]
    if scales and not studies:
        raise UserError(f"{scales[0]} belongs to a study", "For instance +lmd=table3 +scale=smoke.")
    return (studies[0] if studies else None), further


def load(name: str, scale: str | None = None) -> Study:
    """See `NamedStudy`."""
    return NamedStudy(name, scale)


class NamedStudy(Study):
    """A study read from its file, without composing a configuration.

    Args:
        name: `<paper>/<table>`.
        scale: the name of a file in experiments/scale; None is the paper's own.

    Raises:
        UserError: there is no such study or scale, or its file is not one of a study.
    """

    def __init__(self, name: str, scale: str | None = None) -> None:
        from omegaconf import DictConfig, OmegaConf
        from omegaconf.errors import OmegaConfBaseException

        if name not in names():
            raise UserError(f"There is no study '{name}'", suggest_study(name))
        parts = [study_file(f"{name}.yaml")]
        if scale is not None:
            parts.append(study_file(f"{_SCALE}/{scale}.yaml"))
            if not parts[-1].is_file():
                scales = [file.stem for folder in study_folders() for file in (folder / _SCALE).glob("*.yaml")]
                raise UserError(f"There is no scale '{scale}'", suggest(scale, scales))
        try:
            merged = OmegaConf.merge(*map(_read, parts))
            assert isinstance(merged, DictConfig)
            super().__init__(merged.get("study") or OmegaConf.create(), parts[0])
        except OmegaConfBaseException as error:
            raise UserError(f"{parts[0]}: {str(error).splitlines()[0]}") from None


def _read(file: Path) -> DictConfig:
    """A file on top of those that its defaults list names, in Hydra's order of composition."""
    from omegaconf import DictConfig, OmegaConf
    from yaml import YAMLError

    try:
        node = OmegaConf.load(file)
    except YAMLError as error:
        raise UserError(yaml_mistake(error, file)) from None
    except FileNotFoundError:
        raise UserError(f"{file} does not exist", "A study's defaults list names it.") from None
    if not isinstance(node, DictConfig):
        raise UserError(f"{file} is not a study", "experiments/study.yaml explains the keys of a study.")
    bases = [base for base in node.pop("defaults", []) if isinstance(base, str) and base.startswith("/")]
    merged = OmegaConf.merge(*(_read(study_file(f"{base[1:]}.yaml")) for base in bases), node)
    assert isinstance(merged, DictConfig)
    return merged


def yaml_mistake(error: BaseException, file: Path | None = None) -> str:
    """One line about a file that is not valid YAML: the file, the line and the problem.

    Args:
        error: a `yaml.YAMLError`.
        file: None if the error knows it.
    """
    mark = getattr(error, "problem_mark", None)
    where = file or (mark.name if mark else "a file")
    line = f", line {mark.line + 1}" if mark else ""
    what = getattr(error, "problem", None) or str(error).splitlines()[0]
    return f"{where}{line}: this is not YAML ({what})"
