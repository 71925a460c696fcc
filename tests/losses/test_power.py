"""Powers against `pow`, and what they cost where the base is 0."""

from __future__ import annotations

import pytest
import torch

from ltmed.losses.power import power

EXPONENTS = [0, 0.3, 0.99, 1, 1.5, 2, 3, 4, 5, 7, 9, 11, 12, 18, 25]


@pytest.mark.parametrize("exponent", EXPONENTS)
def test_is_the_power_with_its_derivative(exponent: float) -> None:
    x = torch.tensor([0.2, 0.9, 1.0, 1.7], dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(power(x, exponent), x**exponent)
    assert torch.autograd.gradcheck(lambda x: power(x, exponent) * x, x)


@pytest.mark.parametrize("exponent", EXPONENTS)
def test_derivative_at_zero_is_finite(exponent: float) -> None:
    x = torch.zeros(3, requires_grad=True)
    (power(x, exponent) * torch.ones(3, requires_grad=True)).sum().backward()
    assert x.grad is None or torch.isfinite(x.grad).all()
    assert torch.equal(power(x, exponent) > 0.5, torch.full((3,), exponent == 0))
