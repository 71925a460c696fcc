"""The object that every method trains, saves and passes to its next stage: encoder, projector, classifier."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import Tensor, nn

from ltmed.errors import UserError
from ltmed.losses.precision import full_precision
from ltmed.nn.adapters import Adapted

Head = TypeVar("Head", bound=nn.Module)


class Network(nn.Module):
    """Images -> features -> logits, with an optional projector for methods that compare embeddings.

    Letters: B images, D encoder width, E embedding width, K classes.

    Args:
        encoder: `[B, 3, H, W] -> [B, D]`; must have `num_features` (= D), as timm models with `num_classes=0` do.
        classifier: `(D, K) -> Module` mapping `[B, D] -> [B, K]`.
        num_classes: K.
        projector: `D -> Module` mapping `[B, D] -> [B, E]`; None for methods without one.
    """

    def __init__(
        self,
        encoder: nn.Module,
        classifier: Callable[[int, int], nn.Module],
        num_classes: int,
        projector: Callable[[int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.num_features = int(encoder.num_features)  # pyright: ignore[reportArgumentType]
        self.num_classes = num_classes
        self.encoder = encoder
        self.projector = projector(self.num_features) if projector else None
        self.classifier = classifier(self.num_features, num_classes)

    def require_head(self, kind: type[Head]) -> Head:
        """The classifier, for a method that works with one kind of head only.

        Raises:
            UserError: the classifier is of another kind.
        """
        return _require(self.classifier, kind, "classifier")

    def require_projector(self, kind: type[Head] = nn.Module) -> Head:
        """The projector, for a method that compares embeddings; `kind` is what it must be.

        Raises:
            UserError: the network has no projector, or one of another kind.
        """
        return _require(self.projector, kind, "projector")

    def unfreeze_encoder(self) -> None:
        """Makes the encoder trainable again after a stage that froze it; of an adapted one, only the adapters."""
        if isinstance(self.encoder, Adapted):
            self.encoder.unfreeze()
        else:
            self.encoder.requires_grad_(True)

    def forward(self, images: Tensor) -> Tensor:
        """`[B, 3, H, W]` -> logits `[B, K]`, float32 also under autocast."""
        return self._classify(self.encoder(images))

    @full_precision
    def _classify(self, features: Tensor) -> Tensor:
        """Without autocast: in bfloat16 the logits of two classes are often equal, and the first one is predicted."""
        return self.classifier(features)


def _require(part: nn.Module | None, kind: type[Head], role: str) -> Head:
    if not isinstance(part, kind):
        actual = "none" if part is None else type(part).__name__
        expected = "a" if kind is nn.Module else f"a {kind.__name__} as"
        raise UserError(
            f"This method needs {expected} {role}, and the network has {actual}",
            f"Leave method.network.{role} as the method's own yaml has it.",
        )
    return part
