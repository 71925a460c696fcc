"""Predictions of a finished run's network for images that have labels: of its own data set, or of another one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
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
from ltmed.inference.predictor import device_named
from ltmed.inference.restore import load_network
from ltmed.nn.frozen import Frozen
from ltmed.runs import predictions, record
from ltmed.runs.dataset import open_dataset
from ltmed.runs.reader import Run
from ltmed.training.frozen import attach_features, described
from ltmed.utils.progress import bar

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from ltmed.data.datamodule import DataModule
    from ltmed.data.manifest import Manifest
    from ltmed.nn.network import Network

_AUTOCAST = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}


@dataclass(frozen=True)
class Labelled:
    """Predictions, and the images that they are of."""

    manifest: Manifest
    evaluation: Evaluation
    """Its indices are rows of the manifest."""

    @property
    def predictions(self) -> predictions.Predictions:
        """The same as arrays with groups and attributes."""
        manifest = self.manifest
        table = record.predictions_table(manifest, self.evaluation)
        return predictions.from_table(
            table, self.evaluation.classes, None if manifest.groups is None else manifest.group_name
        )


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


def own_part(run: Run, part: str, overrides: Sequence[str] = (), device: str = "auto") -> Labelled:
    """Predicts a part of a run's own split again, from its images and its checkpoint, as the run did.

    Args:
        run: a finished run, on a machine that has its images.
        part: "val" or "test".
        overrides: where the data are now, see `own_config`.
        device: see `ltmed.inference.predictor.Predictor`.

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
    if is_frozen(cfg) and cfg.features.cache:
        batches = _kept_features(cfg, network, data, rows, chosen)
    found = _predict(run, network, batches, len(rows), chosen)
    return Labelled(data.manifest, _joined(found, rows, labels, run))


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
    run: Run, manifest: Manifest, rows: np.ndarray, labels: np.ndarray, cfg: DictConfig, device: str = "auto"
) -> Labelled:
    """Predicts images of another data set, which are decoded as the run's own were.

    Args:
        run: a finished run.
        manifest: of the other data set, its classes any.
        rows: int64 `[n]` of the images that are wanted.
        labels: int64 `[n]`, classes of the run, or -1.
        cfg: with `cache_dir`, and the data set's `on_bad_image` and `threads`.
        device: see `ltmed.inference.predictor.Predictor`.

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
    found = _predict(run, load_network(run), loader, len(rows), device_named(device))
    return Labelled(manifest, _joined(found, rows, labels, run))


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
        with record.replacing(run.path / record.VALIDATION) as partial:
            record.predictions_table(made.manifest, made.evaluation).to_parquet(partial, index=False)
    except OSError:  # A run on a read-only disk: computed again next time.
        pass
    return made.predictions


def _joined(found: Tensor, rows: np.ndarray, labels: np.ndarray, run: Run) -> Evaluation:
    return Evaluation(found, torch.from_numpy(labels), torch.from_numpy(rows), tuple(run.classes))


@torch.inference_mode()
def _predict(run: Run, network: Network, batches: Iterable[Batch], number: int, device: torch.device) -> Tensor:
    """Probabilities float32 `[n, K]` in the order of the batches, with the precision of the run."""
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
                logits = network(images)
            found.append(logits.float().cpu().softmax(1))
            advance(len(batch.indices))
    return torch.cat(found)
