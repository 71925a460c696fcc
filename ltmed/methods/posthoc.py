"""Post-hoc logit adjustment: the logits of a trained classifier are corrected by the class frequencies.

A. K. Menon, S. Jayasumana, A. S. Rawat, H. Jain, A. Veit, S. Kumar, "Long-tail learning via logit adjustment",
International Conference on Learning Representations, 2021.

Trained by cross-entropy, logits z estimate log P(y | x) up to a constant, P(y | x) ~ P(x | y) pi_y. The balanced
error is minimised by the class with the largest P(x | y) instead:

    (9) predicted class = argmax_c z_c - tau log pi_c,    pi_c = n_c / N of the training part

tau = 1 follows from the theory; other values compensate for a poorly calibrated network.
"""

from __future__ import annotations

from ltmed.errors import require_between
from ltmed.losses.counts import log_prior
from ltmed.losses.traits import Loss
from ltmed.methods.erm import ERM
from ltmed.nn.adjusted import LogitAdjusted
from ltmed.nn.network import Network
from ltmed.training import tau_search
from ltmed.training.context import StageContext


class PostHocLogitAdjustment(ERM):
    """Empirical risk minimisation whose validation, test and loaded network predict by Eq. 9.

    Args:
        network: with a `LogitAdjusted` classifier.
        context: of the stage.
        loss: the training loss; training logits are not adjusted.
        tau: of Eq. 9; None selects it at each validation, by balanced accuracy (`ltmed.training.tau_search`).

    Raises:
        UserError: a network without the head, or `tau` out of range.
    """

    multilabel = False

    def __init__(
        self,
        network: Network,
        context: StageContext,
        *,
        loss: Loss,
        tau: float | None = 1.0,
    ) -> None:
        super().__init__(network, context, loss=loss)
        head = network.require_head(LogitAdjusted)
        head.log_prior.copy_(log_prior(context.counts, head.log_prior.dtype))
        self.selects_tau = tau is None
        self.corrects_predictions = not self.selects_tau
        if tau is not None:
            require_between(f"method.stages.{context.name}.module.tau", tau, 0, 1e3)
            head.tau.fill_(tau)

    @property
    def adds_log_prior(self) -> bool:
        """Eq. 9 is for a network that was trained with the classes as frequent as they are; a selected tau for any, so
        that then only the loss counts.
        """
        return not self.selects_tau or super().adds_log_prior

    def on_validation_start(self) -> None:
        """Sets tau = 0 where tau is to be selected from unadjusted logits."""
        super().on_validation_start()
        if self.selects_tau:
            tau_search.begin(self, self.network.require_head(LogitAdjusted))

    def on_validation_epoch_end(self) -> None:
        """Selects tau, if it is not fixed, and evaluates the validation part with it."""
        if self.selects_tau:
            self._outputs = tau_search.choose(self, self.network.require_head(LogitAdjusted), self._outputs)
        super().on_validation_epoch_end()
