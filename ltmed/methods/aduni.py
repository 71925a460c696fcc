"""AdUni: adaptive unified contrastive learning for imbalanced classification.

C. Cong, Y. Yang, S. Liu, M. Pagnucco, A. Di Ieva, S. Berkovsky, Y. Song, "Adaptive Unified Contrastive Learning for
Imbalanced Classification", MLMI 2022 (workshop of MICCAI).

Two views of each image make 2B samples. With f(x) the encoder's projection (norm 1), g(x) the logits of a linear
classifier behind dropout, pi_c = N_c / N, and P(i) the other samples of the class of sample i:

    L_AduC  s_i = [ g(x_i) (+ log pi) ; f(x_i).f(x_j) / tau for all j != i ],    log p_i = log softmax(s_i)
            L_i = - ( log p_i[y_i] + alpha sum_{p in P(i)} log p_i[p] ) / (1 + alpha |P(i)|)
    (3)     alpha_{t+1} = alpha_min + (alpha_t - alpha_min) (1 + cos(pi t / t_decay)) / 2,    alpha_0 = alpha_max

L_AduC, which has no number in the paper, combines its Eq. 1 (contrastive loss) and Eq. 2 (classification).

The label is an additional positive of each sample, and the other classes are additional negatives. As alpha decreases
over the epochs, the emphasis moves from contrast to classification. The predicted class is argmax_c g_c(x). Where this
differs from the printed paper, docs/explanation/fidelity.md says why, and names the option that switches back. Letters:
B images, K classes, E embedding width.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, get_args

import torch
from torch import Tensor

from ltmed.data.batch import Batch
from ltmed.errors import require_between, require_choice
from ltmed.losses.aduni import AlphaSchedule, aduc_loss, alpha_at
from ltmed.nn.network import Network
from ltmed.training.context import StageContext
from ltmed.training.stage import Stage
from ltmed.utils import distributed


class AdUni(Stage):
    """The one stage of AdUni.

    Args:
        network: with a projector (f), whose embeddings have norm 1, and any classifier (g).
        context: of the stage; batches must have two views.
        temperature: tau.
        alpha_max: alpha in the first epoch.
        alpha_min: the value that it decreases to, and that of `alpha_schedule="constant"`.
        t_decay: epochs of half a cosine in Eq. 3.
        alpha_schedule: "recursive_cosine" (Eq. 3 above), "released_cosine", "cosine" or "constant"; see
            `ltmed.losses.aduni.alpha_at`.
        logit_prior: whether log pi is added to the logits in training; the paper prints none.
        normalize: whether L_i is divided by 1 + alpha |P(i)|; the paper prints the plain sum.
        label_per_positive: whether the label's term counts |P(i)| times, as printed, instead of once.
        temper_logits: whether the logits are divided by tau like the similarities, as printed.

    Raises:
        UserError: a network without a projector, or an option out of range.
    """

    compares_images = True

    log_prior: Tensor

    def __init__(
        self,
        network: Network,
        context: StageContext,
        *,
        temperature: float = 0.1,
        alpha_max: float = 1.0,
        alpha_min: float = 0.01,
        t_decay: float = 1000,
        alpha_schedule: AlphaSchedule = "recursive_cosine",
        logit_prior: bool = False,
        normalize: bool = True,
        label_per_positive: bool = False,
        temper_logits: bool = False,
    ) -> None:
        super().__init__(network, context)
        network.require_projector()
        option = f"method.stages.{context.name}.module."
        for name, value, low, high in (
            ("temperature", temperature, 1e-3, 1e3), ("alpha_max", alpha_max, 0, 1e3),
            ("alpha_min", alpha_min, 0, alpha_max), ("t_decay", t_decay, 1, 1e9),
        ):  # fmt: skip
            require_between(option + name, value, low, high)
        require_choice(option + "alpha_schedule", alpha_schedule, get_args(AlphaSchedule))
        self.temperature, self.logit_prior, self.normalize = temperature, logit_prior, normalize
        self.label_per_positive, self.temper_logits = label_per_positive, temper_logits
        self.alpha_max, self.alpha_min, self.t_decay = alpha_max, alpha_min, t_decay
        self.alpha_schedule: AlphaSchedule = alpha_schedule
        frequencies = context.counts.double() / context.counts.sum()
        self.register_buffer("log_prior", frequencies.log().float(), persistent=False)

    @classmethod
    def figures(cls) -> dict[str, Callable[..., Any]]:
        """Alpha over epochs."""
        from ltmed.methods.figures.aduni import alpha

        return {"alpha": alpha}

    @property
    def adds_log_prior(self) -> bool:
        """Whether the log prior is added to the logits."""
        return self.logit_prior

    @property
    def alpha(self) -> float:
        """Weight of a positive sample in the current epoch (Eq. 3)."""
        return alpha_at(self.current_epoch, self.alpha_schedule, self.alpha_max, self.alpha_min, self.t_decay)

    def on_train_epoch_end(self) -> None:
        """Logs alpha of the epoch."""
        self.log(f"{self.context.name}/train/alpha", self.alpha, batch_size=1)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one batch, mean over this process's 2B samples."""
        representations = self.network.encoder(torch.cat(batch.require_views()))
        logits, anchors = self.network.classifier(representations), self.network.require_projector()(representations)
        labels = batch.labels.repeat(2)
        loss = partial(
            aduc_loss,
            logits,
            anchors,
            labels,
            distributed.gather_with_gradient(anchors),
            distributed.gather_equal(labels),
            alpha=self.alpha,
            # Gathered in rank order: this process's samples are contiguous, first views before second views.
            first=distributed.rank() * len(labels),
            temperature=self.temperature,
            log_prior=self.log_prior if self.logit_prior else None,
            normalize=self.normalize,
            label_per_positive=self.label_per_positive,
            temper_logits=self.temper_logits,
        )
        if self.class_losses:
            self.class_losses.add(loss(reduction="none"), labels)
        return loss()
