"""ProCo: prototype-aware contrastive learning for long-tailed medical image classification.

Z. Yang, J. Pan, Y. Yang, X. Shi, H.-Y. Zhou, Z. Zhang, C. Bian, "ProCo: Prototype-aware Contrastive Learning for
Long-tailed Medical Image Classification", MICCAI 2022.

An online network, encoder with projector G (norm 1) and classifier F with one learnable prototype p_c per class, and a
momentum copy of encoder and G (He et al., CVPR 2020) whose keys s fill a queue Q. The predicted class is
argmax_c F(x).p_c. For a query x_j of class y with Q+ its class's keys and Q- the others':

    (1) d_i = 1 - cos(G(x_j), s_i), s_i in Q-
    (2) the gamma items of Q- with the smallest d_i are selected
    (3) adversarial negatives  s~ = normalise((1 - e) s_i + e p_y),   e ~ U(0, E)
        adversarial positives  s~ = normalise((1 - e) s_i + e p_c'),  s_i in Q+ predicted as class c' != y
    (4) omega_c(batch) = mean of sigmoid(F(x).p_c) over the batch's images of class c
    (5) omega_c <- beta omega_c + (1 - beta) omega_c(batch), where class c is in the batch
    (6) p^_c = p_c recalibrated by log omega_c
    (7) L = log(1 + [sum_{s in H-} e^{G.s/tau} + sum_{c != y} e^{p^_c}] [sum_{s in H+} e^{-G.s/tau} + e^{-p^_y}])

H- and H+ are Q- and Q+ with their adversarial items, and e^{p^_c} is short for e^{F(x).p^_c}. Where this differs from
the printed paper, docs/explanation/fidelity.md says why, and names the option that switches back.
Letters: B queries, M queue slots, K classes, E embedding width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from ltmed.data.batch import Batch
from ltmed.errors import UserError, require_between, require_choice
from ltmed.losses import proco
from ltmed.losses.proco import Contrast, MixedPrototypes, QueueReduction, Recalibration
from ltmed.nn.heads import MLP, PrototypeHead, prototype_logits
from ltmed.nn.network import Network
from ltmed.nn.queue import FeatureQueue, QueueItems
from ltmed.nn.teacher import EmaTeacher
from ltmed.training.context import StageContext
from ltmed.training.stage import Stage
from ltmed.utils import distributed

PredictedBy = Literal["online", "momentum"]


class ProCo(Stage):
    """The one stage of ProCo.

    Args:
        network: with an `MLP` projector (G) and a `PrototypeHead` (F and P) of one width.
        context: of the stage; batches must have two views.
        momentum: m of the momentum copy.
        queue_size: M.
        gamma: how many nearest negatives become adversarial ones (Eq. 2).
        mix: E, the largest share of a prototype in a proto-instance (Eq. 3).
        mixed_prototypes: norm of the prototypes in Eq. 3: "raw", "unit" or "bounded" by 1; see
            `ltmed.losses.proco.prototypes_to_mix`.
        predicted_by: which network predicts the class of a key: the "online" network on the other view of its image, or
            the "momentum" copy, then with its own F, on the key's view.
        temperature: tau of the similarities in Eq. 7.
        recalibration: reading of Eq. 6: "bias", "broadcast" or "none".
        omega_beta: beta of Eq. 5.
        omega_init: omega before the first batch.
        queue_reduction: whether the queue's terms of Eq. 7 are averaged ("mean") or summed ("sum", as printed).
        proto_instances: whether adversarial items (Eq. 1-3) are used.

    Raises:
        UserError: a network without the two heads, or an option out of range.
    """

    compares_images = True

    omega: Tensor

    def __init__(
        self,
        network: Network,
        context: StageContext,
        *,
        momentum: float = 0.999,
        queue_size: int = 1024,
        gamma: int = 20,
        mix: float = 0.4,
        temperature: float = 1.0,
        recalibration: Recalibration = "bias",
        omega_beta: float = 0.95,
        omega_init: float = 0.01,
        queue_reduction: QueueReduction = "mean",
        proto_instances: bool = True,
        mixed_prototypes: MixedPrototypes = "raw",
        predicted_by: PredictedBy = "online",
    ) -> None:
        super().__init__(network, context)
        projector, head = _heads(network)
        option = f"method.stages.{context.name}.module."
        for name, value, low, high in (
            ("momentum", momentum, 0, 1), ("mix", mix, 0, 1), ("omega_beta", omega_beta, 0, 1),
            ("omega_init", omega_init, 1e-30, 1), ("temperature", temperature, 1e-3, 1e3),
            ("queue_size", queue_size, 1, 1e7), ("gamma", gamma, 1, 1e7),
        ):  # fmt: skip
            require_between(option + name, value, low, high)
        require_choice(option + "recalibration", recalibration, get_args(Recalibration))
        require_choice(option + "queue_reduction", queue_reduction, get_args(QueueReduction))
        require_choice(option + "mixed_prototypes", mixed_prototypes, get_args(MixedPrototypes))
        require_choice(option + "predicted_by", predicted_by, get_args(PredictedBy))
        self.momentum, self.gamma, self.mix, self.temperature = momentum, gamma, mix, temperature
        self.recalibration: Recalibration = recalibration
        self.queue_reduction: QueueReduction = queue_reduction
        self.omega_beta, self.proto_instances = omega_beta, proto_instances
        self.mixed_prototypes: MixedPrototypes = mixed_prototypes
        # As in MoCo, the key encoder is in training mode: BatchNorm uses the statistics of the keys' own batch.
        self.teacher = EmaTeacher(network.encoder, projector, training=True)
        by_momentum = predicted_by == "momentum"
        self.key_embedding = EmaTeacher(head.embedding, head.norm, training=True) if by_momentum else None
        self.queue = FeatureQueue(queue_size, projector.out_features)
        self.register_buffer("omega", torch.full((network.num_classes,), float(omega_init)))

    @classmethod
    def figures(cls) -> dict[str, Callable[..., Any]]:
        """Omega of each class."""
        from ltmed.methods.figures.proco import omega

        return {"omega": omega}

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one batch, mean over this process's images."""
        (images, views), labels = batch.require_views(), batch.labels
        projector, head = _heads(self.network)
        if self.begins_step(batch_idx):
            self.teacher.update(self.network.encoder, projector, momentum=self.momentum)
            if self.key_embedding is not None:
                self.key_embedding.update(head.embedding, head.norm, momentum=self.momentum)
        features = self.network.encoder(images)
        queries, embeddings = projector(features), head.embed(features)
        logits = prototype_logits(embeddings, head.prototypes)
        # Enqueued first, so that the positives of every query include the other view of its image.
        queue = self._enqueue(*self._keys(views, logits, head), labels)
        negatives, positives = self._contrast(queries, labels, head.prototypes, queue)
        self._update_omega(logits, labels)
        recalibrated = proco.recalibrate(embeddings, head.prototypes, self.omega, self.recalibration)
        return proco.proto_loss(recalibrated, labels, negatives, positives, self.temperature, self.queue_reduction)

    @torch.no_grad()
    def _keys(self, views: Tensor, logits: Tensor, head: PrototypeHead) -> tuple[Tensor, Tensor]:
        """Keys of the second views `[B, E]`, and their predicted classes, int64 `[B]`."""
        features, keys = self.teacher.outputs(views)
        if self.key_embedding is None:
            return keys, logits.argmax(1)
        embeddings = self.key_embedding(features).relu()
        return keys, prototype_logits(embeddings, head.prototypes).argmax(1)

    def _enqueue(self, keys: Tensor, predicted: Tensor, labels: Tensor) -> QueueItems:
        """Adds the keys of all processes, in the order of the global batch."""
        classes = distributed.gather_equal(torch.stack([labels, predicted], 1))
        return self.queue.enqueue(distributed.gather_equal(keys), classes[:, 0], classes[:, 1])

    def _contrast(
        self, queries: Tensor, labels: Tensor, prototypes: Tensor, queue: QueueItems
    ) -> tuple[list[Contrast], list[Contrast]]:
        """H- and H+ (Eq. 1-3): the queue's items and the adversarial ones."""
        negatives, positives = proco.contrast_queue(queries, labels, queue.keys, queue.labels)
        if not self.proto_instances:
            return [negatives], [positives]
        prototypes = proco.prototypes_to_mix(prototypes, self.mixed_prototypes)
        mix = self.mix * torch.rand(len(queries), self.gamma, device=queries.device)
        harder_negatives = proco.adversarial_negatives(queries, labels, queue.keys, negatives, prototypes, mix)
        mix = self.mix * torch.rand(len(queue.keys), device=queries.device)
        # An empty slot has predicted class -1; any prototype may stand for it, since it is no query's positive.
        predicted_prototypes = prototypes[queue.predicted.clamp_min(0)]
        misclassified = queue.predicted != queue.labels
        harder_positives = proco.adversarial_positives(
            queries, queue.keys, misclassified, positives, predicted_prototypes, mix
        )
        return [negatives, harder_negatives], [positives, harder_positives]

    def _update_omega(self, logits: Tensor, labels: Tensor) -> None:
        """Eq. 4 and 5, over the images of all processes."""
        sums, counts = distributed.all_sum(torch.stack(proco.class_confidence(logits, labels)))
        self.omega.copy_(proco.running_confidence(self.omega, sums, counts, self.omega_beta))


def _heads(network: Network) -> tuple[MLP, PrototypeHead]:
    projector, head = network.require_projector(MLP), network.require_head(PrototypeHead)
    if projector.out_features != head.prototypes.shape[1]:
        raise UserError(
            f"ProCo mixes keys of width {projector.out_features} with prototypes of width {head.prototypes.shape[1]}",
            "Set method.network.projector.out_features and method.network.classifier.width to one number.",
        )
    return projector, head
