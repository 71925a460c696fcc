"""Markers of losses for methods that depend on the meaning of an option, which its name alone does not tell.

`beta` of `class_balanced_ce` makes class weights, that of `alpa` is the weight of negatives. A loss with the former
meaning is marked with `@class_weighted` where it is defined; one whose `scale` is that of the head's cosines with
`@of_scaled_cosines`; one that takes several labels per image with `@multilabel`; one that compares the images of a
batch with `@of_whole_batch`; one that adds the log frequency of the classes with `@adds_log_prior`. No list of losses
has to be maintained.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from torch import Tensor, nn

from ltmed.errors import UserError

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""`(logits [B, K], labels int64 [B], class counts [K]) -> scalar`: what every classification loss is.

One that is marked with `@multilabel` also takes float labels `[B, K]` in {0, 1, NaN} and counts `[2, K]`, the known
positives and the known negatives of each label in the training part.
"""

Function = TypeVar("Function", bound=Callable[..., Any])


def class_weighted(function: Function) -> Function:
    """Marks a loss whose `beta` is that of class-balanced weights (`counts.effective_number`), 0 for none."""
    function.__dict__["class_weighted"] = True
    return function


def of_scaled_cosines(function: Function) -> Function:
    """Marks a loss of logits s cos, whose `scale` must be the s that the head multiplies by."""
    function.__dict__["of_scaled_cosines"] = True
    return function


def multilabel(function: Function) -> Function:
    """Marks a loss with one sigmoid per class, which takes several labels per image, and unknown ones."""
    function.__dict__["multilabel"] = True
    return function


def of_whole_batch(function: Function) -> Function:
    """Marks a loss that compares the images of a batch, so that it cannot be computed in parts."""
    function.__dict__["of_whole_batch"] = True
    return function


def is_of_whole_batch(loss: Callable[..., Any] | None) -> bool:
    """Whether the loss, which may be a `partial`, is marked with `of_whole_batch`; False for None."""
    return getattr(_function(loss), "of_whole_batch", False)


def adds_log_prior(function: Function) -> Function:
    """Marks a loss that corrects for classes as frequent in the batches as in the training part."""
    function.__dict__["adds_log_prior"] = True
    return function


def is_adding_log_prior(loss: Callable[..., Any] | None) -> bool:
    """Whether the loss, which may be a `partial`, is marked with `adds_log_prior`; False for None."""
    return getattr(_function(loss), "adds_log_prior", False)


def is_multilabel(loss: Callable[..., Any]) -> bool:
    """Whether the loss, which may be a `partial`, is marked with `multilabel`."""
    return getattr(_function(loss), "multilabel", False)


def is_class_weighted(loss: Callable[..., Any]) -> bool:
    """Whether the loss, which may be a `partial`, is marked with `class_weighted`."""
    return getattr(_function(loss), "class_weighted", False)


def require_scale(loss: Callable[..., Any], classifier: nn.Module) -> None:
    """Refuses a loss of scaled cosines whose scale is not that of the head.

    Args:
        loss: a function, or a `partial` of one with its options.
        classifier: whose attribute `scale`, if it is a number, is the s of its logits s cos (`ltmed.nn.cosine.Cosine`).

    Raises:
        UserError: the loss is marked with `of_scaled_cosines`, and the head has no scale or another one.
    """
    function = _function(loss)
    if not getattr(function, "of_scaled_cosines", False):
        return
    name, head_scale = getattr(function, "__name__", str(function)), getattr(classifier, "scale", None)
    if not isinstance(head_scale, (int, float)):
        raise UserError(
            f"The loss {name} needs a head whose logits are cosines times a scale, not {type(classifier).__name__}",
            "Use method=ldam or method=gcl (with loss=... and sampler=...), whose head is ltmed.nn.cosine.Cosine.",
        )
    loss_scale = inspect.signature(loss).parameters["scale"].default  # The value bound by a partial.
    if loss_scale != head_scale:
        raise UserError(
            f"The scale of the loss {name} is {loss_scale}, but that of the head is {head_scale}",
            "Set method.network.classifier.scale alone: loss.scale follows it.",
        )


def _function(loss: Callable[..., Any] | None) -> Any:
    while isinstance(loss, partial):
        loss = loss.func
    return loss
