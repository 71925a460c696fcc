"""PaCo: parametric contrastive learning, in the form that the AdUni paper compares with.

J. Cui, Z. Zhong, S. Liu, B. Yu, J. Jia, "Parametric Contrastive Learning", ICCV 2021.

The class weights of a linear classifier are learnable centres that join the samples of a momentum-contrast queue. With
f(x) the encoder's projection (norm 1), g(x) the logits, pi_c = N_c / N, and f' the momentum copy of f:

    (1) candidates z_j: the queries f(x_j) of the batch's first views, the keys f'(x~_j) of its second views, the queue
    (2) s_i = [ g(x_i) + log pi ; f(x_i).z_j / tau for all j != i ],    log p_i = log softmax(s_i)
    (3) L_i = - ( log p_i[y_i] + alpha sum_{p in P(i)} log p_i[p] ) / (1 + alpha |P(i)|)

for each query i, with P(i) the other candidates of its class. This is the loss of AdUni (Cong et al., MLMI 2022) with
other candidates; PaCo keeps alpha at 0.05, and "PaCo+AduC" of that paper's Table 1 has AdUni's schedule of alpha. The
predicted class is argmax_c g_c(x). Letters: B images, M queue slots, K classes, E embedding width.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from ltmed.data.batch import Batch
from ltmed.errors import require_between
from ltmed.losses.aduni import AlphaSchedule, aduc_loss
from ltmed.methods.aduni import AdUni
from ltmed.nn.heads import MLP
from ltmed.nn.network import Network
from ltmed.nn.queue import FeatureQueue
from ltmed.nn.teacher import EmaTeacher
from ltmed.training.context import StageContext
from ltmed.utils import distributed


class PaCo(AdUni):
    """The one stage of PaCo: AdUni's loss with a momentum copy and a queue.

    Args:
        network: with an `MLP` projector (f) and any classifier (g).
        context: of the stage; batches must have two views.
        momentum: m of the momentum copy.
        queue_size: M.
        temperature: tau.
        alpha_max: alpha in the first epoch, where the schedule is not "constant".
        alpha_min: the value that it decreases to, and that of `alpha_schedule="constant"`.
        t_decay: epochs of half a cosine.
        alpha_schedule: see `ltmed.losses.aduni.alpha_at`.
        logit_prior: whether log pi is added to the logits in training (Eq. 2).
        normalize: whether L_i is divided by 1 + alpha |P(i)| (Eq. 3).

    Raises:
        UserError: a network without such a projector, or an option out of range.
    """

    def __init__(
        self,
        network: Network,
        context: StageContext,
        *,
        momentum: float = 0.999,
        queue_size: int = 1024,
        temperature: float = 0.1,
        alpha_max: float = 1.0,
        alpha_min: float = 0.05,
        t_decay: float = 1000,
        alpha_schedule: AlphaSchedule = "constant",
        logit_prior: bool = True,
        normalize: bool = True,
    ) -> None:
        projector = network.require_projector(MLP)
        option = f"method.stages.{context.name}.module."
        require_between(option + "momentum", momentum, 0, 1)
        require_between(option + "queue_size", queue_size, 1, 1e7)
        super().__init__(
            network, context, temperature=temperature, alpha_max=alpha_max, alpha_min=alpha_min, t_decay=t_decay,
            alpha_schedule=alpha_schedule, logit_prior=logit_prior, normalize=normalize,
        )  # fmt: skip
        self.momentum = momentum
        # As in MoCo, the key encoder is in training mode: BatchNorm uses the statistics of the keys' own batch.
        self.teacher = EmaTeacher(network.encoder, projector, training=True)
        self.queue = FeatureQueue(queue_size, projector.out_features)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Eq. 3 for one batch, mean over this process's B queries."""
        images, views = batch.require_views()
        projector = self.network.require_projector(MLP)
        if self.begins_step(batch_idx):
            self.teacher.update(self.network.encoder, projector, momentum=self.momentum)
        representations = self.network.encoder(images)
        logits, queries = self.network.classifier(representations), projector(representations)
        candidates, labels = self._candidates(queries, self.teacher(views), batch.labels)
        loss = partial(
            aduc_loss,
            logits,
            queries,
            batch.labels,
            candidates,
            labels,
            alpha=self.alpha,
            first=distributed.rank() * len(queries),
            temperature=self.temperature,
            log_prior=self.log_prior if self.logit_prior else None,
            normalize=self.normalize,
        )
        if self.class_losses:
            self.class_losses.add(loss(reduction="none"), batch.labels)
        return loss()

    def _candidates(self, queries: Tensor, keys: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Eq. 1 over all processes, `[M', E]` and `[M']`, queries first; then the keys enter the queue.

        A slot that was never filled has label -1, which the loss ignores.
        """
        keys, labels = distributed.gather_equal(keys), distributed.gather_equal(labels)
        candidates = torch.cat([distributed.gather_with_gradient(queries), keys, self.queue.keys])
        candidate_labels = torch.cat([labels, labels, self.queue.labels])
        self.queue.enqueue(keys, labels, labels)  # The predicted class of a key is not used here.
        return candidates, candidate_labels
