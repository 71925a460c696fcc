"""Checks for failures in training that can be predicted before the run has a folder."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import nn

from ltmed.data.datamodule import DataModule
from ltmed.errors import UserError
from ltmed.losses.traits import is_adding_log_prior
from ltmed.nn.network import Network
from ltmed.training.stage import Stage

_SAMPLED_DIFFERENTLY = 0.1
"""Share of the images of an epoch that would have to be of another class to be as frequent as in the training part; of
several labels per image, half the sum of the differences in how frequent they are."""


def require_images_fit(network: Network, image_size: int, backbone: str) -> None:
    """Sends two black images through the network: only `timm_encoder` checks the image size itself.

    Args:
        network: on the CPU; its state is not changed.
        image_size: side of the images in pixels.
        backbone: its name, for the message.

    Raises:
        UserError: the network fails on them.
    """
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with torch.no_grad():
            network(torch.zeros(2, 3, image_size, image_size))
    except (RuntimeError, AssertionError, ValueError, TypeError, IndexError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"backbone '{backbone}' cannot compute images of 3 x {image_size} x {image_size}: {reason}",
            "Choose another image_size, or another backbone; images always have 3 channels.",
        ) from error
    finally:
        for module, mode in modes.items():
            module.training = mode


def require_batch_statistics(stage: Stage, images: int) -> None:
    """Refuses BatchNorm on a single image: it has no variance over the batch to normalise with.

    Args:
        stage: before its training.
        images: number that each statistic is computed over: those of one process, or of all with `sync_batchnorm`.

    Raises:
        UserError: one image, and a layer of BatchNorm in training mode.
    """
    norms = (module for module in stage.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm))
    if images > 1 or not any(norm.training for norm in norms):
        return
    raise UserError(
        f"Stage '{stage.context.name}' has one image per process in a batch, and BatchNorm needs at least two",
        "Use a larger batch_size (it counts all processes together), fewer devices, trainer.sync_batchnorm=true with "
        "several GPUs, or a backbone without BatchNorm.",
    )


def warn_of_two_corrections(stage: Stage, data: DataModule) -> None:
    """Warns of a loss that corrects for the class counts on batches in which a sampler has changed them, or whose
    predictions are corrected again.

    Args:
        stage: before its training.
        data: which has been told the settings of the stage; the last epoch counts, where a sampler changes over epochs.
    """
    if stage.corrects_predictions and is_adding_log_prior(getattr(stage, "loss", None)):
        warnings.warn(
            f"Stage '{stage.context.name}' corrects for the class counts in its loss and again in its predictions: "
            "frequent classes are neglected. Use loss=ce, or a method that predicts without a correction",
            stacklevel=2,
        )
    told = data.stage_data
    if not stage.adds_log_prior or told is None:
        return
    labels = data.manifest.labels[data.split.train]
    sampler = told.sampler(labels=labels, batch_size=told.batch_size, epochs=told.epochs, seed=told.seed)
    drawn = labels[sampler.batches(told.epochs - 1).ravel()]
    own, sampled = (_frequencies(part, stage.network.num_classes) for part in (labels, drawn))
    if np.abs(own - sampled).sum() / 2 > _SAMPLED_DIFFERENTLY:
        warnings.warn(
            f"Stage '{stage.context.name}' corrects for the class counts, and so does its sampler: frequent classes "
            "are neglected. Use sampler=instance, or another loss",
            stacklevel=2,
        )


def _frequencies(labels: np.ndarray, classes: int) -> np.ndarray:
    """Share of the images that have each class or label, float64 `[K]`, of labels `[N]` or `[N, K]`."""
    return (labels == 1).mean(0) if labels.ndim == 2 else np.bincount(labels, minlength=classes) / len(labels)
