"""Finished runs as reports, figures and studies read them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltmed.errors import UserError
from ltmed.runs import facts, record
from ltmed.runs.directory import CONFIG, DamagedRunError, flatten
from ltmed.runs.division import Division, division_of

if TYPE_CHECKING:
    import pandas as pd
    from omegaconf import DictConfig


@dataclass(frozen=True)
class Run:
    """One finished run."""

    path: Path
    metrics: dict[str, Any]
    """metrics.json; see `ltmed.runs.record`."""

    def __fspath__(self) -> str:
        """A run stands for its folder wherever a path is expected."""
        return str(self.path)

    @cached_property
    def config(self) -> DictConfig:
        """The resolved configuration.

        Raises:
            DamagedRunError: it cannot be read, or is not that of a run.
        """
        return _config(self.path)

    @cached_property
    def facts(self) -> dict[str, Any]:
        """run.json; see `ltmed.runs.facts`.

        Raises:
            DamagedRunError: it is missing, or is not what a run writes.
        """
        return facts.read(self.path)

    @cached_property
    def overrides(self) -> list[str]:
        """Hydra's overrides of the plain command that began the run.

        Raises:
            DamagedRunError: they are missing, or are not a list.
        """
        return facts.read_overrides(self.path)

    @property
    def split_seeds(self) -> dict[str, int]:
        """Dotted key -> value of every seed that the images were divided with."""
        return self.facts["split_seeds"]

    @property
    def division(self) -> Division:
        """The fold, and the seeds that the images were divided with."""
        return self._division

    @cached_property
    def _division(self) -> Division:
        from omegaconf import OmegaConf

        split = OmegaConf.to_container(self.config.split) if "split" in self.config else {}
        return division_of(int(self.config.fold), self.split_seeds, flatten({"split": split}))

    @property
    def seed(self) -> int:
        """Of the training."""
        return int(self.config.seed)

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """One row per test image: as `ltmed.runs.predictions.write` says.

        Raises:
            FileNotFoundError: it was not copied with the run.
            DamagedRunError: it cannot be read.
        """
        import pandas as pd
        from pyarrow import ArrowException

        file = self.path / record.PREDICTIONS
        try:
            return pd.read_parquet(file)
        except (ArrowException, OSError) as error:
            if isinstance(error, FileNotFoundError):
                raise
            raise DamagedRunError(file, "cannot be read") from None

    @property
    def multilabel(self) -> bool:
        """Whether its images may carry several labels."""
        return "thresholds" in self.metrics["test"]

    @property
    def classes(self) -> list[str]:
        """Class codes in the data set's order."""
        return [row["class"] for row in self.metrics["test"]["per_class"]]


def read_run(path: Path) -> Run | None:
    """The finished run in the folder `path`, or None if there is none.

    Raises:
        DamagedRunError: one of its files is not what a run writes. predictions.parquet may be missing.
    """
    metrics = record.read(path)
    if metrics is None:
        return None
    run = Run(path, metrics)
    _ = run.config, run.facts
    _check_columns(run)
    return run


def find_runs(paths: Iterable[Path]) -> tuple[list[Run], list[Path]]:
    """All runs in and below the given folders: the finished ones, and the folders of those that are not.

    A damaged run below a folder is a warning, and not finished; without configuration or record it is left out. Hidden
    folders, those of W&B, and configurations of something else are no runs.

    Raises:
        UserError: a folder does not exist, or there is no run below any of them.
        DamagedRunError: a folder of `paths` is itself a damaged run.
    """
    folders = list(paths)
    finished: dict[Path, Run] = {}
    unfinished: dict[Path, None] = {}
    for path in folders:
        if not path.is_dir():
            raise UserError(f"{path} is not a folder", "Give folders of runs, for instance runs/isic2018.")
        for folder in _folders(path):
            try:
                run = read_run(folder)
                if run is None:
                    _require_begun(folder)
            except DamagedRunError as error:
                if folder == path:
                    raise
                warnings.warn(str(error), stacklevel=2)
                if not _is_begun(folder):
                    continue
                run = None
            if run is None:
                unfinished[folder] = None
            else:
                finished[folder] = run
    if not finished and not unfinished:
        raise UserError(
            f"No run in {', '.join(map(str, folders))}", "Give folders of runs, for instance runs/isic2018."
        )
    return list(finished.values()), list(unfinished)


def _folders(top: Path) -> Iterator[Path]:
    """The folders in and below `top` that are of runs, damaged ones too, in order."""
    for folder, subfolders, files in os.walk(top):
        subfolders[:] = sorted(name for name in subfolders if name != "wandb" and not name.startswith("."))
        # run.json may be lost while other files remain; metrics.json may be another program's.
        if facts.RUN in files or (record.METRICS in files and _has_results(Path(folder))):
            yield Path(folder)


def _has_results(folder: Path) -> bool:
    try:
        return record.read(folder) is not None
    except DamagedRunError:
        return False


def _require_begun(folder: Path) -> None:
    _config(folder)
    facts.read(folder)


def _is_begun(folder: Path) -> bool:
    """Whether it is known which run this is."""
    try:
        _require_begun(folder)
    except DamagedRunError:
        return False
    return True


def _config(folder: Path) -> DictConfig:
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    file = folder / CONFIG
    try:
        cfg = OmegaConf.load(file)
    except FileNotFoundError:
        raise DamagedRunError(file, "is missing") from None
    except (YAMLError, OmegaConfBaseException, OSError, ValueError):
        raise DamagedRunError(file, "cannot be read") from None
    for key in ("method.name", "fold", "seed", "dataset"):
        if not isinstance(cfg, DictConfig) or OmegaConf.select(cfg, key, throw_on_missing=False) is None:
            raise DamagedRunError(file, f"has no '{key}'")
    assert isinstance(cfg, DictConfig)
    return cfg


def _check_columns(run: Run) -> None:
    from pyarrow import ArrowException, parquet

    file = run.path / record.PREDICTIONS
    try:
        columns = parquet.read_schema(file).names
    except FileNotFoundError:  # Not copied with the run: only comparisons need it.
        return
    except (ArrowException, OSError):
        raise DamagedRunError(file, "cannot be read") from None
    label_columns = (
        [f"{kind}_{code}" for kind in ("label", "predicted") for code in run.classes] if run.multilabel else []
    )
    for column in ("image", *(label_columns or ("label", "predicted")), run.metrics["split"].get("group")):
        if column and column not in columns:
            raise DamagedRunError(file, f"has no column '{column}'")
