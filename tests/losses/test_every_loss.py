"""What every choice of `loss=` has in common: finite, smooth, in full precision, on any device, and never waiting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor

from ltmed.config.instantiate import build
from ltmed.errors import UserError
from tests.harness import ROOT
from tests.no_reading import NoReading

Loss = Callable[..., Tensor]
NAMES = sorted(file.stem for file in (ROOT / "conf/loss").glob("*.yaml"))
COUNTED = [
    "weighted_ce", "weighted_focal", "cb_ce", "cb_focal", "ldam", "gcl", "balanced_softmax", "logit_adjusted", "seesaw",
    "weighted_bce", "logit_adjusted_bce", "distribution_balanced", "db_focal",
]  # fmt: skip
"""Those that correct for class frequency."""
RANDOM = ["gcl"]
"""Those that draw noise."""
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "cb_focal, sigmoid": ("cb_focal", {"form": "sigmoid"}), "ldam, weighted": ("ldam", {"beta": 0.9999}),
    "sigmoid_focal, unweighted": ("sigmoid_focal", {"alpha": None}), "focal, root": ("focal", {"gamma": 0.5}),
    "asl, no margin": ("asl", {"margin": 0.0}), "asl, small margin": ("asl", {"margin": 1e-8}),
    "asl, root": ("asl", {"gamma_pos": 1.0, "gamma_neg": 0.5}), "seesaw, printed": ("seesaw", {"eps": 0.0}),
    "alpa, v3": ("alpa", {"alpha": 1.25, "beta": 2.0, "gamma_pos": 3.0, "gamma_neg": 2.0, "hill": 1.5}),
    "alpa, released": ("alpa", {"clip": 0.05}), "alpa, pade": ("alpa", {"coefficients": "pade", "order": [2, 1]}),
}  # fmt: skip
"""Options that change the formula."""
ALL = {**{name: (name, {}) for name in NAMES}, **VARIANTS}
COUNTS = torch.tensor([500, 30, 1, 7])


def load(name: str, **options: Any) -> Loss:
    """The loss as `loss=name loss.option=...` makes it, beside a cosine head."""
    root = OmegaConf.create({"method": {"network": {"classifier": {"scale": 30.0}}}, "loss": {}})
    root.loss = OmegaConf.merge(OmegaConf.load(ROOT / f"conf/loss/{name}.yaml"), options)
    made = build(root.loss)
    return with_fixed_noise(made) if name in RANDOM else made


def with_fixed_noise(loss: Loss) -> Loss:
    """The loss with the same noise in every call, on any device."""

    def quiet(logits: Tensor, labels: Tensor, counts: Tensor) -> Tensor:
        noise = torch.linspace(-1, 1, logits.numel()).view_as(logits)
        return loss(logits, labels, counts, noise=noise.to(logits.device))

    return quiet


@pytest.fixture(params=ALL)
def loss(request: pytest.FixtureRequest) -> Loss:
    name, options = ALL[request.param]
    return load(name, **options)


def make(batch: int = 6, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(batch, 4, dtype=dtype, generator=generator)
    return logits, torch.tensor([0, 2, 1, 0, 3, 2, 0, 0])[:batch]


def test_the_list_of_losses_that_need_counts_is_complete() -> None:
    logits, labels = make()
    other = torch.tensor([1, 40, 300, 2])
    needing = [n for n in NAMES if not torch.equal(*(load(n)(logits, labels, c) for c in (COUNTS, other)))]
    assert sorted(COUNTED) == needing


def test_is_one_number_that_is_not_negative(loss: Loss) -> None:
    logits, labels = make()
    value = loss(logits, labels, COUNTS)
    assert value.shape == ()
    assert value >= 0


@pytest.mark.parametrize("variant", ALL)
def test_gradient(variant: str) -> None:
    name, options = ALL[variant]
    # Of Seesaw the compensation is a constant to the gradient, as published.
    loss, (logits, labels) = load(name, **options, **({"q": 0.0} if name == "seesaw" else {})), make()
    assert torch.autograd.gradcheck(lambda z: loss(z, labels, COUNTS), logits.requires_grad_())


def test_a_step_against_the_gradient_raises_the_label(loss: Loss) -> None:
    logits = torch.zeros(4, 4, requires_grad=True)
    loss(logits, torch.arange(4), COUNTS).backward()
    assert logits.grad is not None
    assert (logits.grad.diagonal() <= 0).all()
    assert (logits.grad.diagonal() < 0).sum() >= 2, "all but those that OHEM leaves out"


@pytest.mark.parametrize(
    "labels", [[0, 0, 0], [2, 2, 2], [2, 0, 1]], ids=["head only", "one-image class only", "mixed"]
)
@pytest.mark.parametrize("values", [[1e4, -1e4, 1e4, -1e4], [0.0] * 4, [100.0, -100.0, 0, 0], [17.0, -90.0, 30, 88]])
def test_finite_value_and_gradient_for_finite_input(loss: Loss, labels: list[int], values: list[float]) -> None:
    logits = torch.tensor([values, values[::-1], [values[0]] * 4], requires_grad=True)
    value = loss(logits, torch.tensor(labels), COUNTS)
    value.backward()
    assert logits.grad is not None
    assert torch.isfinite(value)
    assert torch.isfinite(logits.grad).all()


def test_one_image_in_the_batch(loss: Loss) -> None:
    logits = torch.randn(1, 4, generator=torch.Generator().manual_seed(1), requires_grad=True)
    loss(logits, torch.tensor([2]), COUNTS).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_and_autocast_are_computed_in_float32(loss: Loss, dtype: torch.dtype) -> None:
    logits, labels = make(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(logits.to(dtype), labels, COUNTS)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(logits.to(dtype).float(), labels, COUNTS))


def test_nothing_is_read_back_from_the_device_after_the_first_step(loss: Loss) -> None:
    logits, labels = make()
    loss(logits, labels, COUNTS)
    with NoReading():
        loss(logits, labels, COUNTS)


@pytest.mark.parametrize("name", COUNTED)
def test_a_class_without_images_is_a_user_error(name: str) -> None:
    logits, labels = make()
    with pytest.raises(UserError, match="class number 1, 3: "):
        load(name)(logits, labels, torch.tensor([5, 0, 2, 0]))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_weights_are_where_the_counts_are(loss: Loss) -> None:
    logits, labels = make()
    expected = loss(logits, labels, COUNTS)
    actual = loss(logits.cuda(), labels.cuda(), COUNTS.cuda())
    assert actual.is_cuda
    torch.testing.assert_close(actual.cpu(), expected)


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("focal", "gamma", -1), ("weighted_focal", "gamma", -1), ("sigmoid_focal", "gamma", -1),
        ("sigmoid_focal", "alpha", 1.5), ("cb_ce", "beta", 1), ("cb_ce", "beta", -0.1), ("cb_focal", "beta", 1),
        ("cb_focal", "form", "softmx"), ("ldam", "scale", None), ("ldam", "max_margin", -1), ("ldam", "beta", 1),
        ("gcl", "scale", None), ("gcl", "strength", -1),
        ("logit_adjusted", "tau", -1), ("asl", "gamma_pos", -1), ("asl", "gamma_neg", -1), ("asl", "margin", 1),
        ("seesaw", "p", -1), ("seesaw", "q", -1), ("seesaw", "eps", -1), ("ohem", "keep", 1.1),
        ("weighted_bce", "largest", 0.5), ("logit_adjusted_bce", "tau", -1), ("db_focal", "gamma", -1),
        ("db_focal", "mu", 2), ("db_focal", "neg_scale", 0.5), ("db_focal", "bias", -1), ("db_focal", "alpha", -1),
        ("two_way", "positive_temperature", 0), ("two_way", "negative_temperature", 1e4),
    ],
)  # fmt: skip
def test_wrong_options_are_user_errors(name: str, option: str, value: Any) -> None:
    logits, labels = make()
    with pytest.raises(UserError, match="cosine" if option == "scale" else f"{option}"):
        load(name, **{option: value})(logits, labels, COUNTS)
