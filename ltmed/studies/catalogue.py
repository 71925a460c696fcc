"""A paper's table as one command: `ltmed train -m +lmd=table3` trains its cells, `table("lmd/table3")` collects them.

A study is a file `experiments/<paper>/<table>.yaml` (experiments/study.yaml lists its keys). Each of its cells is a
plain run: its overrides are put together here and composed anew, so that its folder is that of its plain command, a
cell that stands in two tables is trained once, and finished cells are skipped. Nothing here is slow to import.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ltmed.config import overrides
from ltmed.config.paths import config_folders, groups, study_file, study_folders
from ltmed.errors import UserError, suggest
from ltmed.studies.study import Study

if TYPE_CHECKING:
    from omegaconf import DictConfig


_OWN = ("row", "column", "data", "scale", "study")


def files() -> dict[str, Path]:
    """Every study, as `<paper>/<table>`, and its file; those that begin with `_` are parts of several studies."""
    found = sorted(file for folder in study_folders() for file in folder.glob("*/[!_]*.yaml"))
    apart = {"scale", *groups()}
    return {f"{file.parent.name}/{file.stem}": file for file in found if file.parent.name not in apart}


def names() -> list[str]:
    """All of them."""
    return list(files())


def suggest_study(name: str) -> str:
    """A sentence with the studies that are named like `name`, for error messages."""
    return suggest(name, names())


def require_known(given: Sequence[str]) -> None:
    """Refuses `+lmdd=table3`, which Hydra takes for a new setting.

    Raises:
        UserError: a word adds a setting at the top, where nothing reads it.
    """
    for word in given:
        found = re.match(r"\+(\w+)=(.*)", word)
        if found and not any((folder / found[1]).is_dir() for folder in {*study_folders(), *config_folders()}):
            name = f"{found[1]}/{found[2]}"
            raise UserError(f"There is no study '{name}'", suggest_study(name))


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
            parts.append(study_file(f"scale/{scale}.yaml"))
            if not parts[-1].is_file():
                known = [file.stem for folder in study_folders() for file in (folder / "scale").glob("*.yaml")]
                raise UserError(f"There is no scale '{scale}'", suggest(scale, known))
        try:
            merged = OmegaConf.merge(*map(_read, parts))
            assert isinstance(merged, DictConfig)
            super().__init__(merged.get("study") or OmegaConf.create(), parts[0])
        except OmegaConfBaseException as error:
            raise UserError(f"{parts[0]}: {str(error).splitlines()[0]}") from None


def _read(file: Path) -> DictConfig:
    """A file on top of those that its defaults list names, as Hydra would merge them."""
    from omegaconf import DictConfig, OmegaConf
    from yaml import YAMLError

    try:
        own = OmegaConf.load(file)
    except YAMLError as error:
        raise UserError(yaml_mistake(error, file)) from None
    except FileNotFoundError:
        raise UserError(f"{file} does not exist", "A study's defaults list names it.") from None
    if not isinstance(own, DictConfig):
        raise UserError(f"{file} is not a study", "experiments/study.yaml explains the keys of a study.")
    bases = [base for base in own.pop("defaults", []) if isinstance(base, str) and base.startswith("/")]
    merged = OmegaConf.merge(*(_read(study_file(f"{base[1:]}.yaml")) for base in bases), own)
    assert isinstance(merged, DictConfig)
    return merged


def yaml_mistake(error: BaseException, file: Path | None = None) -> str:
    """One line on a file that is not YAML: which, where and what.

    Args:
        error: a `yaml.YAMLError`.
        file: None if the error knows it.
    """
    mark = getattr(error, "problem_mark", None)
    where = file or (mark.name if mark else "a file")
    line = f", line {mark.line + 1}" if mark else ""
    what = getattr(error, "problem", None) or str(error).splitlines()[0]
    return f"{where}{line}: this is not YAML ({what})"


def words_of_job(cfg: DictConfig, given: Sequence[str]) -> list[str]:
    """The plain overrides of the cell that a job of a study is about.

    Args:
        cfg: the job's config, with a `study`.
        given: the job's overrides.

    Raises:
        UserError: no cell is chosen, or it does not exist.
    """
    study = Study(cfg.study)
    if cfg.row is None or cfg.column is None:
        raise UserError(
            f"{study.title} has {len(study.rerun)} rows and {len(study.columns)} columns",
            "Run all of them with ltmed train -m, or choose one with row=NAME column=NAME.",
        )
    mine = (*_OWN, study.paper)
    further = [word for word in given if overrides.setting(word).lstrip("+").split(".")[0] not in mine]
    repetition = {"fold": str(cfg.fold), "seed": str(cfg.seed)}
    found = study.overrides(str(cfg.row), str(cfg.column), repetition)
    if cfg.data is not None and study.scale is None:
        found = (
            *found,
            f"dataset.root={overrides.quoted(str(Path(cfg.data, overrides.choice(found, 'dataset') or '')))}",
        )
    return overrides.last_of_each([*found, *further])


def register() -> None:
    """Makes `${study_sweep:KEY}` known, with which experiments/study.yaml fills `hydra.sweeper.params`."""
    from omegaconf import OmegaConf

    OmegaConf.register_new_resolver("study_sweep", lambda key, _root_: Study(_root_.study).sweep(key), replace=True)
