"""Heads against their formulas."""

from __future__ import annotations

import pytest
import torch

from ltmed.nn.heads import MLP, EmbeddedLinear, Linear, PrototypeHead


def test_linear_has_a_bias_unless_told_otherwise() -> None:
    assert Linear(4, 3).bias is not None
    assert Linear(4, 3, bias=False).bias is None
    assert Linear(4, 3)(torch.zeros(2, 4)).shape == (2, 3)


@pytest.mark.parametrize("normalize", [True, False])
def test_mlp_is_two_layers_and_a_norm(normalize: bool) -> None:
    torch.manual_seed(0)
    mlp, features = MLP(6, 5, hidden=7, normalize=normalize), torch.randn(3, 6)
    state = mlp.state_dict()
    first, second = [(state[f"layers.{i}.weight"], state[f"layers.{i}.bias"]) for i in (0, 2)]
    assert first[0].shape == (7, 6)
    expected = (features @ first[0].T + first[1]).clamp_min(0) @ second[0].T + second[1]
    if normalize:
        expected = expected / expected.square().sum(1, keepdim=True).sqrt()
    torch.testing.assert_close(mlp(features), expected)


def test_mlp_hidden_width_defaults_to_the_encoder_width() -> None:
    assert MLP(6, 5).state_dict()["layers.0.weight"].shape == (6, 6)


def test_embedded_linear_is_two_linear_layers() -> None:
    torch.manual_seed(0)
    head, features = EmbeddedLinear(6, 3, width=4), torch.randn(2, 6)
    state = head.state_dict()
    assert state["embedding.weight"].shape == (4, 6)
    embedded = features @ state["embedding.weight"].T + state["embedding.bias"]
    torch.testing.assert_close(head(features), embedded @ state["linear.weight"].T + state["linear.bias"])


def test_prototype_logits_are_inner_products_of_non_negative_embeddings() -> None:
    torch.manual_seed(0)
    head, features = PrototypeHead(6, 4, width=5, init_std=2.0), torch.randn(3, 6)
    embeddings = head.embed(features)
    assert (embeddings >= 0).all()
    logits = head(features)
    for b in range(3):
        for k in range(4):
            assert logits[b, k].item() == pytest.approx((embeddings[b] * head.prototypes[k]).sum().item(), abs=1e-5)


def test_init_std_sets_the_scale_of_prototypes() -> None:
    torch.manual_seed(0)
    assert PrototypeHead(4, 50, width=400, init_std=0.7).prototypes.std().item() == pytest.approx(0.7, rel=0.02)


def test_embeddings_and_logits_are_float32_under_autocast() -> None:
    mlp, head, features = MLP(6, 5), PrototypeHead(6, 4, width=5), torch.randn(3, 6)
    with torch.autocast("cpu", torch.bfloat16):
        embeddings, logits, half = mlp(features), head(features), head.embed(features)
    assert half.dtype == torch.bfloat16
    assert embeddings.dtype == logits.dtype == torch.float32
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(logits, half.float() @ head.prototypes.T)
