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
from ltmed.data.splits.protocols import names_without_layout
from ltmed.errors import UserError
from ltmed.evaluation.metrics import Evaluation
from ltmed.inference.ensemble import VIEWS, View, disagreement
from ltmed.inference.predictor import device_named
from ltmed.inference.restore import load_network
from ltmed.nn.frozen import Frozen
from ltmed.runs import predictions, record
from ltmed.runs.dataset import open_dataset, open_images
from ltmed.runs.reader import Run
from ltmed.training.frozen import attach_features, view_descriptions
from ltmed.utils.allocator import keep_freed_memory
from ltmed.utils.files import replacing
from ltmed.utils.progress import bar

if TYPE_CHECKING:
    import pandas as pd
    from omegaconf import DictConfig

    from ltmed.data.datamodule import DataModule
    from ltmed.data.manifest import Manifest
    from ltmed.nn.network import Network

_OF_THE_RUN = ("image_size", "cache_scale", "cache_budget_gb", "fit", "intensity", "head", "tail")
"""Settings of a data set that decide what its network sees, and how classes are grouped."""
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
    thresholds: np.ndarray | None = None
    """`[K]` of several labels; None of images with one label."""

    @property
    def evaluation(self) -> Evaluation:
        """The mean of the members."""
        mean = self.members[0] if len(self.members) == 1 else self.members.mean(0)
        return Evaluation(mean, self.labels, self.rows, self.classes)

    @property
    def table(self) -> pd.DataFrame:
        """The rows of predictions.parquet; of several members with one label an image also their disagreement."""
        has_disagreement = len(self.members) > 1 and self.thresholds is None
        column = disagreement(self.members).numpy() if has_disagreement else None
        return predictions.table_of(self.manifest, self.evaluation, self.thresholds, column)

    @property
    def predictions(self) -> predictions.Predictions:
        """The same as arrays with groups and attributes."""
        group = None if self.manifest.groups is None else self.manifest.group_name
        return predictions.from_table(self.table, self.classes, group)

    def select(self, images: np.ndarray) -> Labelled:
        """The predictions for some images, given as a mask `[N]` or as indices."""
        selected = torch.from_numpy(images)
        return replace(self, members=self.members[:, selected], labels=self.labels[selected], rows=self.rows[selected])


def joined(parts: Sequence[Labelled]) -> Labelled:
    """The predictions of several networks for the same images as those of one ensemble, in the order of the first.

    Images are the same if their names in the digest of a split are: a data set may lie in other folders for each
    network, and so in another order. Images that one of them did not predict, as each decodes them with its own
    settings, are left out.

    Raises:
        UserError: they have no image in common.
    """
    positions = [
        {names[row]: position for position, row in enumerate(part.rows.tolist())}
        for part in parts
        for names in [names_without_layout(part.manifest.images)]
    ]
    common = [name for name in positions[0] if all(name in others for others in positions)]
    if not common and all(positions):
        raise UserError("The runs have no image in common", "Give runs that have their data in the same layout.")
    same = [
        part.select(np.array([index[name] for name in common], dtype=np.int64))
        for part, index in zip(parts, positions, strict=True)
    ]
    return replace(same[0], members=torch.cat([part.members for part in same]))


def own_config(run: Run, overrides: Sequence[str] = ()) -> DictConfig:
    """The configuration of a run with changes to where its data are (`dataset.root`, `cache_dir`, ...).

    Raises:
        UserError: an override of anything else, also of how the network sees the data, or without a value.
    """
    from omegaconf import OmegaConf

    cfg = run.config.copy()
    OmegaConf.set_readonly(cfg, False)
    for override in overrides:
        name, _, text = override.partition("=")
        key = name.lstrip("+")
        if not is_setting_of_data(key):
            raise UserError(
                f"{override} would change the run",
                "Only where its data are may be given (dataset.root, cache_dir, ...); dataset=NAME for other data.",
            )
        if not text:
            raise UserError(f"{override} has no value (an unset variable of the shell?)", f"Write {key}=VALUE.")
        value: object = OmegaConf.from_dotlist([f"value={text}"]).value
        OmegaConf.update(cfg, key, value, force_add=True)
    return cfg


def is_setting_of_data(key: str) -> bool:
    """Whether a setting says which images and labels there are, or where, and not how a network sees them.

    Args:
        key: of an override, without Hydra's `+` and `~`.
    """
    return key == "cache_dir" or (key.startswith("dataset.") and key.removeprefix("dataset.") not in _OF_THE_RUN)


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
        UserError: the images are missing or have changed, or the order of the classes; a file of the run is missing.
    """
    cfg = own_config(run, overrides)
    data = open_dataset(cfg, run.path)
    if list(data.manifest.classes) != run.classes:  # The digest of the split has their names, not their order.
        raise UserError(
            f"The data have the classes {', '.join(data.manifest.classes)}, and {run.path} {', '.join(run.classes)}",
            "Leave out dataset.classes, or evaluate them as other data: dataset=NAME.",
        )
    open_images(data, run.path)
    assert data.cache is not None
    network, torch_device = load_network(run), device_named(device)
    rows = data.split.parts[part]
    labels = data.manifest.labels[rows]
    batches: Iterable[Batch] = EvalLoader(data.cache, rows, labels, data.evaluation, threads=data.threads)
    if is_frozen(cfg) and cfg.features.cache and len(views) == 1:  # Features are of images as they are.
        batches = _cached_features(cfg, network, data, rows, torch_device)
    probabilities = _predict(run, network, batches, len(rows), torch_device, views)
    return _labelled(run, data.manifest, probabilities, rows, labels)


def _cached_features(
    cfg: DictConfig, network: Network, data: DataModule, rows: np.ndarray, device: torch.device
) -> Iterable[Batch]:
    """The cached features of a frozen encoder, which are on disk if the run was trained on this machine."""
    from ltmed.data.cache.features import View

    network.encoder = Frozen(network.encoder)
    attach_features(cfg, network, data, "gpu" if device.type == "cuda" else "cpu")
    assert data.features is not None
    view = View(data.evaluation, view_descriptions(cfg.evaluation, 1)[0])
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
        rows: int64 `[n]` of the images to predict.
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
    probabilities = _predict(run, load_network(run), loader, len(rows), device_named(device), views)
    return _labelled(run, manifest, probabilities, rows, labels)


def validation(run: Run, overrides: Sequence[str] = (), device: str = "auto") -> predictions.Predictions:
    """Predictions for the validation part: those that the run recorded, else from its images and its checkpoint.

    Computed predictions are saved in the run's folder if it is writable.

    Raises:
        UserError: it is not recorded, and the images or the checkpoint are not there.
    """
    try:
        return predictions.of_part(run, "val")
    except FileNotFoundError:
        pass
    try:
        predicted = own_part(run, "val", overrides, device)
    except UserError as error:
        raise UserError(
            f"{run.path} has no {record.VALIDATION}, and its validation images cannot be predicted again: {error}",
            "Say where its data are with dataset.root=DIR.",
        ) from None
    try:
        with replacing(run.path / record.VALIDATION) as partial:
            predicted.table.to_parquet(partial, index=False)
    except OSError:  # A run on a read-only disk: computed again next time.
        pass
    return predicted.predictions


def thresholds_of(run: Run) -> np.ndarray | None:
    """The thresholds of a run with several labels, float64 `[K]`; None of images with one label."""
    thresholds = run.metrics["test"].get("thresholds")
    return None if thresholds is None else np.array([thresholds[code] for code in run.classes], dtype=np.float64)


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
        255 * torch.tensor(list(values), device=device) for values in (run.config.pixels.mean, run.config.pixels.std)
    )
    dtype = _AUTOCAST.get(str(run.config.trainer.precision))
    if device.type == "cpu" and dtype is torch.float16:
        dtype = None  # CPUs have no float16 autocast: the run was trained on a GPU.
    probabilities = []
    with bar("predicting", number, None) as advance:
        for batch in batches:
            images = batch.images.to(device)
            if images.ndim > 2:
                images = normalise(images, mean, std)
            precision: AbstractContextManager[object] = (
                nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)
            )
            with precision:
                logits = torch.stack([network(view(images)) for view in views]).float().cpu()
            probabilities.append(logits.sigmoid() if run.multilabel else logits.softmax(2))
            advance(len(batch.indices))
    return torch.cat(probabilities, 1)
