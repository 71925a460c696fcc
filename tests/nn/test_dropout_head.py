"""The classifier behind dropout."""

from __future__ import annotations

import torch

from ltmed.nn.dropout_head import DropoutLinear


def test_features_are_left_out_in_training_only() -> None:
    head, features = DropoutLinear(1000, 1, p=0.3, bias=False), torch.ones(200, 1000)
    torch.nn.init.ones_(head.linear.weight)
    selected = head(features)[:, 0] * (1 - 0.3) / 1000
    assert abs(selected.mean().item() - 0.7) < 0.01
    assert selected.std() > 0
    assert torch.equal(head.eval()(features), torch.full((200, 1), 1000.0))
