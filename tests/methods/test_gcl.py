"""GCL as it is composed: clouds of the head's own scale, then a new cosine head with effective-number sampling."""

from __future__ import annotations

from functools import partial

import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from ltmed.config.instantiate import build
from ltmed.data.samplers.single import EffectiveNumberSampler
from ltmed.losses.gcl import gcl
from ltmed.methods.decoupling import Retrain
from ltmed.nn.cosine import Cosine
from ltmed.nn.network import Network
from tests.harness import ROOT
from tests.methods.small import Encoder, K, batch, context, updated


def composed(*words: str) -> DictConfig:
    with initialize_config_dir(str(ROOT / "conf"), version_base=None):
        return compose("config", ["method=gcl", *words])


def test_scale_of_the_loss_is_the_heads_in_both_stages() -> None:
    cfg = composed("method.network.classifier.scale=16")
    network = Network(Encoder(), num_classes=K, **build(cfg.method.network))
    assert isinstance(network.classifier, Cosine)
    for recipe in cfg.method.stages.values():
        stage = build(recipe.module)(network=network, context=context())
        assert stage.loss.func is gcl
        assert stage.loss.keywords["scale"] == network.classifier.scale == 16


def test_the_second_stage_samples_by_effective_number() -> None:
    cfg = composed()
    assert build(cfg.method.stages.classify.sampler).func is EffectiveNumberSampler
    assert build(composed("sampler=class_balanced").method.stages.classify.sampler).func is EffectiveNumberSampler


def test_classifier_starts_anew_in_the_second_stage_and_is_trained_alone() -> None:
    torch.manual_seed(0)
    network = Network(Encoder(), partial(Cosine, scale=30.0), K)
    before, encoder = network.classifier.weight.clone(), [p.clone() for p in network.encoder.parameters()]  # pyright: ignore
    stage = Retrain(network, context(), loss=partial(gcl, scale=30.0))
    assert isinstance(network.classifier, Cosine)
    assert not torch.isclose(network.classifier.weight, before).any()
    torch.testing.assert_close(network.classifier.weight.norm(dim=1), torch.ones(K))
    updated(stage, batch())
    assert all(torch.equal(a, b) for a, b in zip(encoder, network.encoder.parameters(), strict=True))
