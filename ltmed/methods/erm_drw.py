"""Deferred re-weighting (DRW): unweighted training first, class-balanced weights in the last epochs.

K. Cao, C. Wei, A. Gaidon, N. Arechiga, T. Ma, "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss",
NeurIPS 2019, Algorithm 1. Of T epochs the last r T minimise the same loss with weights by class,

    w_c ~ (1 - b) / (1 - b^n_c)        (Cui et al. 2019)

Weights from the start degrade the features learnt from frequent classes; late weights only adjust the decision
boundary.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor

from ltmed.data.batch import Batch
from ltmed.errors import UserError, require_between
from ltmed.losses.traits import is_class_weighted
from ltmed.methods.erm import ERM
from ltmed.nn.network import Network
from ltmed.training.context import StageContext


class ERMDRW(ERM):
    """Minimises `loss(..., beta=0)` and, in the last epochs, `loss(..., beta=b)`.

    Args:
        network: encoder and classifier.
        context: of the stage.
        loss: as in `ERM`, marked with `ltmed.losses.traits.class_weighted`: ldam, cb_ce, cb_focal.
        share: r in (0, 1], the share of the epochs with weights, at least one epoch.
        beta: b in [0, 1).

    Raises:
        UserError: a loss without such weights, a loss that `ERM` does not accept, or an option out of range.
    """

    multilabel = False

    def __init__(
        self,
        network: Network,
        context: StageContext,
        *,
        loss: Callable[..., Tensor],
        share: float = 0.2,
        beta: float = 0.9999,
    ) -> None:
        if not is_class_weighted(loss):
            raise UserError(
                "Deferred re-weighting needs a loss whose option 'beta' makes class-balanced weights",
                "Use loss=ldam, cb_ce or cb_focal; mark one of your own with ltmed.losses.traits.class_weighted.",
            )
        if not 0 < share <= 1:
            raise UserError(f"module.share={share}", "Give a share of the epochs, more than 0 and at most 1.")
        require_between(f"method.stages.{context.name}.module.beta", beta, 0, 1, below=True)
        super().__init__(network, context, loss=partial(loss, beta=0.0))
        self.late_loss = partial(loss, beta=beta)
        self.first_late = context.epochs - max(1, round(share * context.epochs))
        self.complete_from = self.first_late

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one batch, with the weights of its epoch."""
        loss = self.late_loss if self.current_epoch >= self.first_late else self.loss
        return self.classification_loss(loss, batch)
