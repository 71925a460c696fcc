"""Post-hoc logit adjustment: where the offset acts, its sign, and tau chosen on validation images."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import balanced_accuracy_score
from torch import Tensor

from ltmed.data.batch import Batch
from ltmed.errors import UserError
from ltmed.losses.classification import cross_entropy
from ltmed.losses.margins import logit_adjusted
from ltmed.methods.erm import ERM
from ltmed.methods.posthoc import PostHocLogitAdjustment
from ltmed.nn.adjusted import LogitAdjusted
from ltmed.nn.heads import Linear
from ltmed.nn.network import Network
from tests.methods.small import Encoder, K, batch, context, updated
from tests.methods.small_decoupling import COUNTS, Data, fit, make, trainer_for

PRIOR = np.array(COUNTS) / sum(COUNTS)


def stage_with(tau: float | None = 1.0, **options: Any) -> PostHocLogitAdjustment:
    return make(PostHocLogitAdjustment, LogitAdjusted, loss=cross_entropy, tau=tau, **options)


def plain_logits(stage: PostHocLogitAdjustment, whole: Batch) -> Tensor:
    """What the network says without adjustment."""
    network = copy.deepcopy(stage.network).eval()
    head = network.classifier
    assert isinstance(head, LogitAdjusted)
    with torch.no_grad():
        return head.linear(network.encoder(stage.on_after_batch_transfer(whole, 0).images)).double()


def test_only_a_fixed_tau_expects_batches_with_the_classes_as_frequent_as_they_are() -> None:
    assert stage_with(tau=1.0).adds_log_prior
    assert not stage_with(tau=None).adds_log_prior
    trained_with_prior = make(PostHocLogitAdjustment, LogitAdjusted, loss=logit_adjusted, tau=None)
    assert trained_with_prior.adds_log_prior


def test_every_parameter_is_updated_as_by_erm() -> None:
    stage, data = stage_with(), batch()
    updated(stage, data)
    torch.manual_seed(0)
    erm = make(ERM, Linear, loss=cross_entropy)
    torch.testing.assert_close(stage_with().training_step(data, 0), erm.training_step(data, 0))


def test_a_rare_class_gains_in_prediction_only() -> None:
    stage, data = stage_with(), batch()
    training = stage.training_step(data, 0)
    logits = stage.eval()(data.images)
    plain = stage.network.classifier.linear(stage.network.encoder(data.images))  # pyright: ignore
    torch.testing.assert_close(logits, plain - torch.from_numpy(np.log(PRIOR)).float())
    rare = int(np.argmin(PRIOR))
    assert (logits.softmax(1)[:, rare] > plain.softmax(1)[:, rare]).all()
    torch.testing.assert_close(stage.training_step(data, 0), F.cross_entropy(logits, data.labels))
    stage.train()
    assert training.item() != pytest.approx(F.cross_entropy(logits, data.labels).item())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("tau", [0.0, 1.0, 2.5])
def test_a_fixed_tau_stays_and_scores_validation_and_test(tau: float) -> None:
    stage, data = fit(stage_with(tau)), Data()
    trainer_for(1).test(stage, datamodule=data, verbose=False)
    head = stage.network.classifier
    assert isinstance(head, LogitAdjusted)
    assert head.tau.item() == tau
    for split, whole in (("val", data.val_part), ("test", data.test_part)):
        scores = plain_logits(stage, whole).softmax(1) / torch.from_numpy(PRIOR) ** tau
        expected = (scores / scores.sum(1, keepdim=True)).float()
        torch.testing.assert_close(stage.evaluations[split].probabilities, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_tau_is_the_best_on_validation_images_of_the_last_epoch_and_stays_in_tests() -> None:
    data, stage, trainer = Data(), stage_with(None), trainer_for(2)
    trainer.fit(stage, datamodule=data)
    logits, labels = plain_logits(stage, data.val_part).numpy(), data.val_part.labels.numpy()
    grid = np.linspace(0, 2, 21)
    scores = [balanced_accuracy_score(labels, (logits - tau * np.log(PRIOR)).argmax(1)) for tau in grid]
    head = stage.network.classifier
    assert isinstance(head, LogitAdjusted)
    assert max(scores) > scores[0], "a search with nothing to find"
    assert head.tau.item() == pytest.approx(grid[int(np.argmax(np.round(scores, 12)))])
    assert float(trainer.callback_metrics["train/val/balanced_accuracy"]) == pytest.approx(max(scores))
    selected = head.tau.item()
    trainer_for(1).test(stage, datamodule=data, verbose=False)
    trainer_for(1).validate(stage, datamodule=Data(seed=9), verbose=False)
    assert head.tau.item() == selected


def test_prior_and_tau_are_in_the_checkpoint_of_the_network() -> None:
    stage, fresh = stage_with(1.5).eval(), Network(Encoder(), LogitAdjusted, K).eval()
    fresh.load_state_dict(stage.network.state_dict())
    torch.testing.assert_close(fresh(batch().images), stage(batch().images), rtol=0, atol=0)


@pytest.mark.parametrize("tau", [-0.5, float("nan")])
def test_a_tau_out_of_range_is_a_user_error(tau: float) -> None:
    with pytest.raises(UserError, match=r"module\.tau="):
        stage_with(tau)


def test_another_head_is_a_user_error() -> None:
    with pytest.raises(UserError, match=r"LogitAdjusted.*method\.network"):
        PostHocLogitAdjustment(Network(Encoder(), Linear, K), context(), loss=cross_entropy)
