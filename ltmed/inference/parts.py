"""Predictions of a finished run's network for images that have labels: of its own data set, or of another one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ltmed.config.instantiate import build, is_frozen
from ltmed.data.batch import Batch, normalise
from ltmed.data.cache.images import open_cache
from ltmed.data.cache.intensity import Intensity
from ltmed.data.cache.store import JPEG
from ltmed.data.loading.feature_loader import FeatureEvalLoader
from ltmed.data.loading.loader import EvalLoader
from ltmed.errors import UserError
from ltmed.evaluation.metrics import Evaluation
from ltmed.inference.ensemble import VIEWS, View, disagreement
from ltmed.inference.predictor import device_named
from ltmed.inference.restore import load_network
from ltmed.nn.frozen import Frozen
from ltmed.runs import predictions, record
from ltmed.runs.dataset import open_dataset
from ltmed.runs.reader import Run
from ltmed.training.frozen import attach_features, described
from ltmed.utils.allocator import keep_freed_memory
from ltmed.utils.files import replacing
from ltmed.utils.progress import bar

if TYPE_CHECKING:
    import pandas as pd
    from omegaconf import DictConfig

    from ltmed.data.datamodule import DataModule
    from ltmed.data.manifest import Manifest
    from ltmed.nn.network import Network

_AUTOCAST = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}


@dataclass(frozen=True)
class Labelled:
    """Predictions, and the images that they are of. N images, K classes, M members (networks times views)."""

    manifest: Manifest
    members: Tensor
    """float32 `[M, N, K]`, probabilities."""
    labels: Tensor
    """int64 `[N]`, or float32 `[N, K]` of several labels."""
    rows: Tensor
    """int64 `[N]`, of the manifest."""
    classes: tuple[str, ...]
    cuts: np.ndarray | None = None
    """`[K]`, where each of several labels is decided; None of images with one."""

    @property
    def evaluation(self) -> Evaluation:
        """The mean of the members."""
        mean = self.members[0] if len(self.members) == 1 else self.members.mean(0)
        return Evaluation(mean, self.labels, self.rows, self.classes)

    @property
    def table(self) -> pd.DataFrame:
        """The rows of predictions.parquet; of several members with one label an image also their disagreement."""
        apart = len(self.members) > 1 and self.cuts is None
        further = disagreement(self.members).numpy() if apart else None
        return predictions.table_of(self.manifest, self.evaluation, self.cuts, further)

    @property
    def predictions(self) -> predictions.Predictions:
        """The same as arrays with groups and attributes."""
        group = None if self.manifest.groups is None else self.manifest.group_name
        return predictions.from_table(self.table, self.classes, group)

    def select(self, chosen: np.ndarray) -> Labelled:
        """Those of some images, a mask `[N]`."""
        kept = torch.from_numpy(chosen)
        return replace(self, members=self.members[:, kept], labels=self.labels[kept], rows=self.rows[kept])


def joined(parts: Sequence[Labelled]) -> Labelled:
    """The predictions of several networks for the same images as those of one ensemble."""
    return replace(parts[0], members=torch.cat([part.members for part in parts]))


def own_config(run: Run, overrides: Sequence[str] = ()) -> DictConfig:
    """The configuration of a run with changes to where its data are (`dataset.root`, `cache_dir`, ...).

    Raises:
        UserError: an override that is about something else than the data.
    """
    from omegaconf import OmegaConf

    from ltmed.config.overrides import setting

    cfg = run.config.copy()
    OmegaConf.set_readonly(cfg, False)
    for word in overrides:
        key = setting(word).lstrip("+")
        if not key.startswith("dataset.") and key != "cache_dir":
            raise UserError(
                f"{word} would change the run",
                "Only dataset.* and cache_dir may be given; dataset=NAME for other data.",
            )
        value: object = OmegaConf.from_dotlist([f"value={word.split('=', 1)[1]}"]).value
        OmegaConf.update(cfg, key, value, force_add=True)
    return cfg


def own_part(
    run: Run, part: str, overrides: Sequence[str] = (), device: str = "auto", views: Sequence[View] = VIEWS["none"]
) -> Labelled:
    """Predicts a part of a run's own split again, from its images and its checkpoint, as the run did.

    Args:
        run: a finished run, on a machine that has its images.
        part: "val" or "test".
        overrides: where the data are now, see `own_config`.
        device: see `ltmed.inference.predictor.Predictor`.
        views: of every image, from `ltmed.inference.ensemble.VIEWS`.

    Raises:
        UserError: the images are not where they were, or are other ones; a file of the run is missing.
    """
    cfg = own_config(run, overrides)
    data = open_dataset(cfg, run.path)
    data.open()
    assert data.cache is not None
    network, chosen = load_network(run), device_named(device)
    rows = data.split.parts[part]
    labels = data.manifest.labels[rows]
    batches: Iterable[Batch] = EvalLoader(data.cache, rows, labels, data.evaluation, threads=data.threads)
    if is_frozen(cfg) and cfg.features.cache and len(views) == 1:  # Features are of images as they are.
        batches = _kept_features(cfg, network, data, rows, chosen)
    found = _predict(run, network, batches, len(rows), chosen, views)
    return _labelled(run, data.manifest, found, rows, labels)


def _kept_features(
    cfg: DictConfig, network: Network, data: DataModule, rows: np.ndarray, device: torch.device
) -> Iterable[Batch]:
    """The features of a frozen encoder, which are on the disk where the run was trained here."""
    from ltmed.data.cache.features import View

    network.encoder = Frozen(network.encoder)
    attach_features(cfg, network, data, "gpu" if device.type == "cuda" else "cpu")
    assert data.features is not None
    view = View(data.evaluation, described(cfg.evaluation, 1)[0])
    return FeatureEvalLoader(data.features, rows, data.manifest.labels[rows], view)


def other_images(
    run: Run,
    manifest: Manifest,
    rows: np.ndarray,
    labels: np.ndarray,
    cfg: DictConfig,
    device: str = "auto",
    views: Sequence[View] = VIEWS["none"],
) -> Labelled:
    """Predicts images of another data set, which are decoded as the run's own were.

    Args:
        run: a finished run.
        manifest: of the other data set, its classes any.
        rows: int64 `[n]` of the images that are wanted.
        labels: int64 `[n]`, classes of the run, or -1; of several labels float32 `[n, K]`.
        cfg: with `cache_dir`, and the data set's `on_bad_image` and `threads`.
        device: see `ltmed.inference.predictor.Predictor`.
        views: as for `own_part`.

    Raises:
        UserError: images cannot be read and are not to be skipped.
    """
    pixels = run.facts["pixels"]
    cache = open_cache(
        manifest, pixels["side"], cfg.cache_dir, fit=pixels["fit"], interpolation=run.config.pixels.interpolation,
        intensity=Intensity(**pixels["intensity"]), on_bad_image=cfg.dataset.on_bad_image,
        budget_gb=0 if pixels["store"] == JPEG.name else math.inf, threads=cfg.dataset.threads,
    )  # fmt: skip
    readable = ~np.isin(rows, [row for row, _ in cache.bad])
    rows, labels = rows[readable], labels[readable]
    if not len(rows):
        raise UserError(f"No image of {manifest.name} can be evaluated", "Look at its files with ltmed check.")
    loader = EvalLoader(cache, rows, labels, build(run.config.evaluation), threads=cfg.dataset.threads)
    found = _predict(run, load_network(run), loader, len(rows), device_named(device), views)
    return _labelled(run, manifest, found, rows, labels)


def validation(run: Run, overrides: Sequence[str] = (), device: str = "auto") -> predictions.Predictions:
    """Predictions for the validation part: those that the run recorded, else from its images and its checkpoint.

    What had to be computed is kept in the run's folder, where it can be written to.

    Raises:
        UserError: it is not recorded, and the images or the checkpoint are not there.
    """
    try:
        return predictions.of_part(run, "val")
    except FileNotFoundError:
        pass
    try:
        made = own_part(run, "val", overrides, device)
    except UserError as error:
        raise UserError(
            f"{run.path} has no {record.VALIDATION}, and its validation images cannot be predicted again: {error}",
            "Say where its data are with dataset.root=DIR.",
        ) from None
    try:
        with replacing(run.path / record.VALIDATION) as partial:
            made.table.to_parquet(partial, index=False)
    except OSError:  # A run on a read-only disk: computed again next time.
        pass
    return made.predictions


def thresholds_of(run: Run) -> np.ndarray | None:
    """Where a run decides each of several labels, float64 `[K]`; None of images with one label."""
    found = run.metrics["test"].get("thresholds")
    return None if found is None else np.array([found[code] for code in run.classes], dtype=np.float64)


def _labelled(run: Run, manifest: Manifest, members: Tensor, rows: np.ndarray, labels: np.ndarray) -> Labelled:
    return Labelled(
        manifest, members, torch.from_numpy(labels), torch.from_numpy(rows), tuple(run.classes), thresholds_of(run)
    )


@torch.inference_mode()
def _predict(
    run: Run, network: Network, batches: Iterable[Batch], number: int, device: torch.device, views: Sequence[View]
) -> Tensor:
    """Probabilities float32 `[V, n, K]` of each view in the order of the batches, with the precision of the run."""
    if device.type == "cpu":
        keep_freed_memory()
    network = network.to(device)
    mean, std = (
        255 * torch.tensor(list(each), device=device) for each in (run.config.pixels.mean, run.config.pixels.std)
    )
    kind = _AUTOCAST.get(str(run.config.trainer.precision))
    if device.type == "cpu" and kind is torch.float16:
        kind = None  # Which no run on a CPU has: it was trained on a GPU.
    found = []
    with bar("predicting", number, None) as advance:
        for batch in batches:
            images = batch.images.to(device)
            if images.ndim > 2:
                images = normalise(images, mean, std)
            precision: AbstractContextManager[object] = (
                nullcontext() if kind is None else torch.autocast(device.type, dtype=kind)
            )
            with precision:
                logits = torch.stack([network(view(images)) for view in views]).float().cpu()
            found.append(logits.sigmoid() if run.multilabel else logits.softmax(2))
            advance(len(batch.indices))
    return torch.cat(found, 1)
