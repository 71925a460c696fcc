"""Gradients of losses against the probability that they are taken at, as in figure 1 of the ALPA paper."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from ltmed.errors import UserError, require_choice
from ltmed.plots import style, titles

if TYPE_CHECKING:
    from ltmed.losses.traits import Loss

COUNTS = (1000, 10)
"""Training images of the two classes, where a loss depends on them."""
_NUMBER = 99
_SAMPLES = 2000
"""Samples for the mean gradient of a loss with random numbers."""


class Gradients(NamedTuple):
    """Derivatives of a loss by the logit of one of two classes, whose probability is p; the logit of the other is 0."""

    p: np.ndarray
    """`[N]`, in (0, 1): sigmoid of the logit, which is also the softmax over the two logits."""
    true: np.ndarray
    """`[N]`: by the logit of the true class, p being its probability."""
    other: np.ndarray
    """`[N]`: by the logit of the other class, p being its probability."""


def named_loss(text: str) -> Loss:
    """A loss by its name in conf/loss, with settings: "alpa gamma_neg=2"; "ldam method=ldam" has the method's scale.

    Args:
        text: the name, then `key=value` of the loss, or of the configuration that it is part of (`method=NAME`).

    Raises:
        UserError: there is no such loss or setting.
    """
    from ltmed.config.compose import choices, compose
    from ltmed.config.instantiate import build

    try:
        name, *settings = shlex.split(text)
    except ValueError as error:
        raise UserError(f"--loss '{text}' cannot be read: {error}", "For instance --loss 'alpa gamma_neg=2'.") from None
    require_choice("--loss", name, sorted(choices("loss")))
    overrides = [
        setting if setting.startswith("method=") or "." in setting.split("=")[0] else f"loss.{setting}"
        for setting in settings
    ]
    return build(compose([f"loss={name}", *overrides]).loss)


def gradients(loss: Loss, label: int = 0, counts: Sequence[int] = COUNTS, number: int = _NUMBER) -> Gradients:
    """Derivatives of the loss of one image, beside one of the other class in a batch of two, times two.

    Of a loss that is a mean over images these are the image's own; of one that divides by the sum of class weights
    they are weighted as in balanced batches.

    Args:
        loss: `(logits [B, 2], labels [B], counts [2]) -> scalar`.
        label: the true class, 0 or 1.
        counts: training images of the two classes.
        number: N.

    Raises:
        UserError: the loss cannot be computed for two images of two classes.
    """
    p = np.linspace(0, 1, number + 2)[1:-1]
    logits = np.log(p / (1 - p))
    samples = _SAMPLES if _is_random(loss, label, counts) else 1
    derivatives = [
        np.array([_derivative(loss, float(z), k, label, counts, samples) for z in logits]) for k in (label, 1 - label)
    ]
    return Gradients(p, *derivatives)


def _derivative(loss: Loss, z: float, k: int, label: int, counts: Sequence[int], samples: int) -> float:
    import torch

    torch.manual_seed(0)
    logit = torch.tensor(z, dtype=torch.float64, requires_grad=True)
    mask = torch.zeros(2, 2, dtype=torch.float64)  # [images, classes], of the first image.
    mask[0, k] = 1
    logits, labels = (logit * mask).repeat(samples, 1), torch.tensor([label, 1 - label]).repeat(samples)
    (gradient,) = torch.autograd.grad(loss(logits, labels, torch.tensor(counts)), logit)
    return 2 * float(gradient)


def _is_random(loss: Loss, label: int, counts: Sequence[int]) -> bool:
    import torch

    logits, labels = torch.zeros(64, 2, dtype=torch.float64), torch.tensor([label, 1 - label]).repeat(32)
    images = torch.tensor(counts)
    try:
        with torch.random.fork_rng(devices=[]):
            return bool(loss(logits, labels, images) != loss(logits, labels, images))
    except (RuntimeError, TypeError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"The loss cannot be computed for two images of two classes: {reason}") from error


@style.styled
def loss_gradients(losses: Mapping[str, Loss], counts: Sequence[int] = COUNTS) -> Figure:
    """Gradients of several losses: by the logit of the true class, which they raise, and by that of the other class.

    Args:
        losses: name -> loss.
        counts: training images of two classes; a loss that depends on them has a line for either true class.
    """
    figure = style.new_figure(3.4)
    left, right = figure.subplots(1, 2)
    handles = []
    for number, (name, loss) in enumerate(losses.items()):
        large, small = (gradients(loss, label, counts) for label in (0, 1))
        if np.allclose(large.true, small.true) and np.allclose(large.other, small.other):
            lines = {name: (large, ("-", "--", "-.")[number % 3])}
        else:
            pairs = zip(counts, ((large, "-"), (small, ":")), strict=True)
            lines = {f"{name}, class of {images:,} images": curve for images, curve in pairs}
        for text, (curve, dashes) in lines.items():
            line_style: dict[str, Any] = {"color": style.line_look(number)["color"], "ls": dashes}
            handles += left.plot(curve.p, -curve.true, lw=1.4, label=text, **line_style)
            right.plot(curve.p, curve.other, lw=1.4, **line_style)
    left.set(xlabel="p of the true class", ylabel="\u2212\u2202L/\u2202z of the true class")
    right.set(xlabel="p of the other class", ylabel="\u2202L/\u2202z of the other class")
    for axes in (left, right):
        axes.set(xlim=(0, 1), ylim=(min(0.0, axes.get_ylim()[0]), None))
        axes.grid()
    titles.legend(figure, handles, "Gradient of the loss by a logit z at its probability p (the other logit is 0)")
    return figure
