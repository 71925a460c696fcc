"""Access to the linear classifier, for methods that change its weights directly."""

from __future__ import annotations

from torch import nn

from ltmed.errors import UserError
from ltmed.nn.network import Network


def linear_classifier(network: Network) -> nn.Linear:
    """The network's classifier, which must be one linear layer.

    Raises:
        UserError: the classifier is another head.
    """
    if not isinstance(network.classifier, nn.Linear):
        raise UserError(
            f"This method needs a linear classifier, not a {type(network.classifier).__name__}",
            "Leave method.network.classifier as the method has it: ltmed.nn.heads.Linear.",
        )
    return network.classifier
