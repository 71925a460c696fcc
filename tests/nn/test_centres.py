"""The nearest-class-mean head against scipy."""

from __future__ import annotations

import torch
from scipy.spatial.distance import cdist

from ltmed.nn.centres import CentreHead


def head() -> CentreHead:
    torch.manual_seed(0)
    made = CentreHead(6, 4, width=5)
    made.centres.normal_()
    return made


def test_logits_are_minus_the_distances_to_the_centres() -> None:
    made, features = head(), torch.randn(3, 6)
    embeddings = features @ made.embedding.weight.T + made.embedding.bias
    torch.testing.assert_close(made.embed(features), embeddings)
    expected = -torch.from_numpy(cdist(embeddings.detach(), made.centres))
    torch.testing.assert_close(made(features).double(), expected, rtol=1e-5, atol=0)


def test_centres_are_in_the_checkpoint_and_get_no_gradient() -> None:
    made = CentreHead(6, 4)
    assert made.state_dict()["centres"].shape == (4, 128)
    assert [name for name, _ in made.named_parameters()] == ["embedding.weight", "embedding.bias"]
    restored = CentreHead(6, 4, width=5)
    restored.load_state_dict(head().state_dict())
    torch.testing.assert_close(restored(torch.ones(2, 6)), head()(torch.ones(2, 6)))


def test_logits_are_float32_under_autocast() -> None:
    made, features = head(), torch.randn(3, 6)
    with torch.autocast("cpu", torch.bfloat16):
        half, logits = made.embed(features), made(features)
    assert half.dtype == torch.bfloat16
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, -torch.cdist(half.float(), made.centres), rtol=1e-4, atol=0)
