"""Gradients of losses against the probability: formulas by hand, and every loss of the configuration."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from ltmed.config.paths import choices
from ltmed.errors import UserError
from ltmed.plots import loss_gradients as module
from ltmed.plots.loss_gradients import gradients, loss_gradients, named_loss
from tests.plots.cases import saved
from tests.plots.runs.test_side_by_side import require_readable

NAMES = sorted(choices("loss"))
NEED_A_HEAD = {"ldam": "ldam method=ldam", "gcl": "gcl method=gcl"}


def test_cross_entropy_and_binary_cross_entropy():
    for name in ("ce", "bce"):
        found = gradients(named_loss(name), number=9)
        np.testing.assert_allclose(found.p, np.linspace(0.1, 0.9, 9))
        np.testing.assert_allclose(found.true, found.p - 1, atol=1e-12)
        np.testing.assert_allclose(found.other, found.p, atol=1e-12)


def test_alpa_is_the_derivative_of_its_powers():
    """Loss of a positive 1.5 alpha e^(2 g + 1), e = 1 - p; of a negative beta p^(2 g + 1); dp/dz = p (1 - p)."""
    found = gradients(named_loss("alpa alpha=0.5 beta=2 gamma_pos=1 gamma_neg=4"), number=19)
    p, slope = found.p, found.p * (1 - found.p)
    np.testing.assert_allclose(found.true, -1.5 * 0.5 * 3 * (1 - p) ** 2 * slope, rtol=1e-9)
    np.testing.assert_allclose(found.other, 2 * 9 * p**8 * slope, rtol=1e-9)


def test_class_weights_are_those_of_balanced_batches():
    """weighted_ce divides by the sum of weights: 1/1000 and 1/10 in a batch of one image each, times two."""
    large, small = (gradients(named_loss("weighted_ce"), label, (1000, 10), number=3) for label in (0, 1))
    np.testing.assert_allclose(small.true / large.true, 100)
    np.testing.assert_allclose(small.true + large.true, 2 * (small.p - 1))


def test_class_sizes_change_losses_that_depend_on_them():
    """Balanced softmax: the softmax of z + log n, whose probability of the small class is below its p."""
    found = gradients(named_loss("balanced_softmax"), 1, (1000, 10), number=3)
    odds = found.p / (1 - found.p) * 10 / 1000
    np.testing.assert_allclose(found.true, odds / (1 + odds) - 1)


def test_random_losses_are_averaged_and_repeatable():
    loss = named_loss("gcl method=gcl")
    torch.manual_seed(5)
    one = gradients(loss, 1, number=3)
    other = gradients(loss, 1, number=3)
    np.testing.assert_array_equal(one.true, other.true)
    assert (np.diff(one.true) > 0).all(), "a mean over many draws is smooth"


@pytest.mark.parametrize("name", NAMES)
def test_every_loss_has_one(name, tmp_path):
    found = gradients(named_loss(NEED_A_HEAD.get(name, name)), number=3)
    assert np.isfinite(found.true).all()
    assert np.isfinite(found.other).all()
    assert (found.true <= 0).all(), "no loss lowers the true class"


@pytest.mark.filterwarnings("error")
def test_the_figure_has_a_line_for_each_loss_and_class_size(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "gradients", partial(gradients, number=9))
    texts = ["ce", "alpa gamma_neg=2", "balanced_softmax"]
    figure = saved(loss_gradients({text: named_loss(text) for text in texts}, (500, 5)), tmp_path)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "ce", "alpa gamma_neg=2", "balanced_softmax, class of 500 images", "balanced_softmax, class of 5 images",
    ]  # fmt: skip
    assert [len(axes.lines) for axes in figure.axes] == [4, 4]
    x, y = figure.axes[0].lines[0].get_data()
    np.testing.assert_allclose(y, 1 - np.asarray(x))
    require_readable(figure)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nosuch", "nosuch"),
        ("", "cannot be read"),
        ("alpa 'x", "cannot be read"),
        ("alpa gama=3", "gama"),
        ("ldam", "head"),
    ],
)
def test_mistakes(text, message):
    with pytest.raises(Exception, match=message) as raised:
        gradients(named_loss(text), number=1)
    assert isinstance(raised.value, UserError) or type(raised.value).__module__.startswith(("hydra", "omegaconf"))
