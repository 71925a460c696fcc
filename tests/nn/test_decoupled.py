"""The heads of decoupling against their formulas."""

from __future__ import annotations

import pytest
import torch
from scipy.spatial.distance import cdist
from torch import Tensor, nn

from ltmed.errors import UserError
from ltmed.nn.adjusted import TauNormalised
from ltmed.nn.decoupled import NearestMean, ScaledLinear
from ltmed.nn.frozen import freeze, reset_parameters
from ltmed.nn.heads import Linear, PrototypeHead

HEADS = [ScaledLinear, TauNormalised, NearestMean]


def features(size: int = 5) -> Tensor:
    return 3 * torch.randn(size, 6, generator=torch.Generator().manual_seed(1)) + 1


def linear_logits(head: nn.Module) -> Tensor:
    linear = head.get_submodule("linear")
    return features() @ linear.get_parameter("weight").T + linear.get_parameter("bias")


def ncm(**options: object) -> NearestMean:
    torch.manual_seed(0)
    head = NearestMean(6, 4, **options).eval()  # pyright: ignore[reportArgumentType]
    head.centre.normal_()
    head.means.normal_().div_(2)
    head.is_set.fill_(True)
    return head


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("mode", [True, False])
def test_is_a_linear_classifier_with_the_same_initial_weights_until_a_stage_says_more(
    kind: type[nn.Module], mode: bool
) -> None:
    torch.manual_seed(0)
    plain = Linear(6, 4)
    torch.manual_seed(0)
    head = kind(6, 4).train(mode)
    torch.testing.assert_close(head(features()), plain(features()), rtol=0, atol=0)
    trained = [name for name, parameter in head.named_parameters() if parameter.requires_grad]
    assert trained == ["linear.weight", "linear.bias"]


def test_scales_multiply_logits_with_their_bias() -> None:
    head = ScaledLinear(6, 4)
    with torch.no_grad():
        head.scales.copy_(torch.tensor([1.0, 2.0, 0.5, -1.0]))
    torch.testing.assert_close(head(features()), linear_logits(head) * torch.tensor([1.0, 2.0, 0.5, -1.0]))


@pytest.mark.parametrize("tau", [0.0, 0.7, 1.0, 2.0])
def test_tau_normalisation_divides_each_weight_vector(tau: float) -> None:
    torch.manual_seed(0)
    head = TauNormalised(6, 4, bias=False).eval()
    with torch.no_grad():
        head.linear.weight.mul_(torch.tensor([[1.0], [5.0], [0.1], [0.0]]))
    head.tau.fill_(tau)
    actual = head(features())
    for c, weight in enumerate(head.linear.weight.detach()):
        norm = float(weight.square().sum() ** 0.5)
        expected = features() @ (weight / norm**tau) if norm else torch.zeros(5)
        torch.testing.assert_close(actual[:, c], expected, rtol=1e-5, atol=1e-6)
    head.train()
    torch.testing.assert_close(head(features()), features() @ head.linear.weight.T)


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_nearest_mean_against_scipy(metric: str, centred: bool) -> None:
    head = ncm(metric=metric, centred=centred)
    if not centred:
        head.centre.zero_()
    x = (features() - head.centre).double()
    x = x / x.norm(dim=1, keepdim=True)
    kind = "sqeuclidean" if metric == "euclidean" else "cosine"
    expected = (1 if metric == "cosine" else 0) - torch.from_numpy(cdist(x, head.means.double(), kind))
    torch.testing.assert_close(head(features()).double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(head.train()(features()), linear_logits(head))


@pytest.mark.parametrize("value", [0.0, 1e4, -1e4])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_nearest_mean_is_finite_for_features_that_are_zero_large_or_all_equal(metric: str, value: float) -> None:
    head = ncm(metric=metric)
    head.centre.zero_()
    head.means[1] = 0
    logits = head(torch.full((3, 6), value))
    assert torch.isfinite(logits).all()
    assert logits.abs().max() <= 20


@pytest.mark.parametrize("kind", HEADS)
def test_predicts_alike_from_its_state_and_in_float32_under_autocast(kind: type[nn.Module]) -> None:
    head, other = (kind(6, 4).eval() for _ in range(2))
    with torch.no_grad():
        for tensor in (*head.parameters(), *head.buffers()):
            tensor.copy_(torch.rand(tensor.shape) > 0.5) if tensor.dtype == torch.bool else tensor.uniform_(0.5, 1.5)
    other.load_state_dict(head.state_dict())
    expected = head(features())
    torch.testing.assert_close(other(features()), expected, rtol=0, atol=0)
    with torch.autocast("cpu", torch.bfloat16):
        actual = head(features())
    assert actual.dtype == torch.float32
    torch.testing.assert_close(actual, expected, rtol=0.02, atol=0.05)


def test_unknown_metric_is_a_user_error() -> None:
    with pytest.raises(UserError, match="'cosine'"):
        NearestMean(6, 4, metric="cosin")  # pyright: ignore[reportArgumentType]


def test_frozen_parts_keep_weights_and_statistics() -> None:
    part = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6))
    freeze(part)
    before = {name: value.clone() for name, value in part.state_dict().items()}
    assert not part(features()).requires_grad
    assert all(torch.equal(value, before[name]) for name, value in part.state_dict().items())


def test_start_anew_draws_every_layer_again_or_says_which_it_cannot() -> None:
    part = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 2))
    before = {name: value.clone() for name, value in part.named_parameters()}
    reset_parameters(part)
    assert not any(torch.equal(value, before[name]) for name, value in part.named_parameters())
    with pytest.raises(UserError, match=r"PrototypeHead cannot.*heads\.Linear"):
        reset_parameters(PrototypeHead(6, 4))
