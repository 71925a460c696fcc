"""Small stages of PCCT for tests."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ltmed.data.batch import Batch
from ltmed.methods.pcct import CentreStage, SampleStage
from ltmed.nn.centres import CentreHead
from ltmed.nn.network import Network
from tests.methods.small import Encoder, K, context

LOSSES = ("triplet", "pairwise", "quadruplet")
TRAINABLE = {"centers": "trainable"}
VARIANTS = [(SampleStage, {"ce_weight": 0.5}), (CentreStage, {}), (CentreStage, TRAINABLE)]


def make(kind: Any, classes: int = K, norm: bool = True, **options: Any) -> Any:
    torch.manual_seed(0)
    network = Network(Encoder(norm), partial(CentreHead, width=4), classes)
    return kind(network, context(classes), **{"margin": 5.0, "beta": 2.0, **options})


def own_centres(stage: Any) -> Tensor:
    return stage.network.classifier.centres


def class_means(stage: Any, parts: list[Batch]) -> Tensor:
    network = copy.deepcopy(stage.network).eval()
    rows = {label: [] for label in range(K)}
    for part in parts:
        for image, label in zip(part.images, part.labels.tolist(), strict=True):
            rows[label].append(network.classifier.embed(network.encoder(image[None]))[0].detach())
    return torch.stack([torch.stack(rows[label]).mean(0) for label in range(K)])
