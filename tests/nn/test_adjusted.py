"""Logit adjustment in a head: the sign, and where it acts."""

from __future__ import annotations

import torch

from ltmed.nn.adjusted import LogitAdjusted
from ltmed.nn.heads import Linear

SHARES = torch.tensor([0.9, 0.09, 0.01])


def head(tau: float) -> LogitAdjusted:
    torch.manual_seed(0)
    made = LogitAdjusted(6, 3)
    made.log_prior.copy_(SHARES.log())
    made.tau.fill_(tau)
    return made


def test_a_rare_class_gains_and_training_is_left_alone() -> None:
    made, features = head(1.0), torch.randn(5, 6)
    logits = features @ made.linear.weight.T + made.linear.bias
    torch.testing.assert_close(made.train()(features), logits)
    gains = made.eval()(features) - logits
    for c, share in enumerate(SHARES):
        torch.testing.assert_close(gains[:, c], -share.log().expand(5))
    assert (gains[:, 2] > gains[:, 1]).all()
    assert (gains[:, 1] > gains[:, 0]).all()


def test_divides_probabilities_by_the_prior_to_the_power_of_tau() -> None:
    made, features = head(0.5).eval(), torch.randn(5, 6)
    plain = made.linear(features).softmax(1) / SHARES**0.5
    torch.testing.assert_close(made(features).softmax(1), plain / plain.sum(1, keepdim=True))


def test_without_a_prior_or_a_tau_it_is_linear() -> None:
    torch.manual_seed(0)
    plain, features = Linear(6, 3), torch.randn(5, 6)
    torch.manual_seed(0)
    torch.testing.assert_close(LogitAdjusted(6, 3).eval()(features), plain(features), rtol=0, atol=0)
    torch.testing.assert_close(head(0.0).eval()(features), plain(features), rtol=0, atol=0)


def test_a_checkpoint_predicts_alike_in_float32_under_autocast() -> None:
    made, restored, features = head(1.5).eval(), LogitAdjusted(6, 3).eval(), torch.randn(5, 6)
    restored.load_state_dict(made.state_dict())
    torch.testing.assert_close(restored(features), made(features), rtol=0, atol=0)
    with torch.autocast("cpu", torch.bfloat16):
        logits = made(features)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, made(features), rtol=0.02, atol=0.05)
