"""Finished runs as reports, pictures and studies read them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ltmed import results
from ltmed.errors import UserError

if TYPE_CHECKING:
    import pandas as pd
    from omegaconf import DictConfig


class Division(NamedTuple):
    """What decides a run's images once its protocol is given: all runs of one division are tested on the same ones."""

    fold: int
    draw: tuple[int, ...]
    """The values of `Run.split_seeds`."""


@dataclass(frozen=True)
class Run:
    """One finished run."""

    path: Path
    found: dict[str, Any]
    """metrics.json; see `ltmed.results`."""

    @cached_property
    def config(self) -> DictConfig:
        """The resolved configuration."""
        from omegaconf import DictConfig, OmegaConf

        cfg = OmegaConf.load(self.path / "config.yaml")
        assert isinstance(cfg, DictConfig)
        return cfg

    @cached_property
    def split_seeds(self) -> dict[str, int]:
        """Dotted key -> value of every seed below `split`."""
        from omegaconf import OmegaConf

        from ltmed.rundir import flatten

        found = flatten({"split": OmegaConf.to_container(self.config.split)})
        return {key: value for key, value in sorted(found.items()) if key.rpartition(".")[2] == "seed"}

    @cached_property
    def division(self) -> Division:
        """The fold, and the seeds that the images were divided with."""
        return Division(int(self.config.fold), tuple(self.split_seeds.values()))

    @property
    def seed(self) -> int:
        """Of the training."""
        return int(self.config.seed)

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """One row per test image: image, label, predicted, the group column if groups are known, prob_<class>."""
        import pandas as pd

        return pd.read_parquet(self.path / results.PREDICTIONS)

    @property
    def classes(self) -> list[str]:
        """Class codes in the data set's order."""
        return [row["class"] for row in self.found["test"]["per_class"]]


def read_run(path: Path) -> Run | None:
    """The finished run in the folder `path`, or None if there is none."""
    found = results.read(path)
    return Run(path, found) if found else None


def find_runs(paths: Iterable[Path]) -> tuple[list[Run], list[Path]]:
    """All runs in and below the given folders: the finished ones, and the folders of those that are not.

    Raises:
        UserError: a folder does not exist, or there is no run below any of them.
    """
    folders: dict[Path, None] = {}
    given = list(paths)
    for path in given:
        if not path.is_dir():
            raise UserError(f"{path} is not a folder", "Give folders of runs, for instance runs/isic2018.")
        folders.update((file.parent, None) for file in sorted(path.rglob("config.yaml")))
    found = {folder: read_run(folder) for folder in folders}
    if not found:
        raise UserError(f"No run in {', '.join(map(str, given))}", "Give folders of runs, for instance runs/isic2018.")
    return [run for run in found.values() if run], [folder for folder, run in found.items() if run is None]
