"""MixUp and CutMix: training on mixtures of two images of the batch, with the labels mixed alike.

H. Zhang, M. Cisse, Y. N. Dauphin, D. Lopez-Paz, "mixup: Beyond Empirical Risk Minimization", ICLR 2018.
S. Yun, D. Han, S. J. Oh, S. Chun, J. Choe, Y. Yoo, "CutMix: Regularization Strategy to Train Strong Classifiers with
Localizable Features", ICCV 2019.

One lambda ~ Beta(a, a) and one random pairing (i, j) of the batch's images with each other, for every step:

    (1) MixUp    x~ = lambda x_i + (1 - lambda) x_j
    (2) CutMix   x~ = x_i with a box of x_j, whose centre is uniform and whose sides are sqrt(1 - lambda) of the
                 image's, clipped at the borders; lambda becomes the share of x_i that is left
    (3) L = lambda loss(z(x~), y_i) + (1 - lambda) loss(z(x~), y_j)

Images and labels are mixed as `torchvision.transforms.v2.MixUp` and `CutMix` do it; those are not called because they
return mixed labels, which a loss of class numbers cannot take. For cross-entropy, (3) is the loss of the mixed labels.
Letters: B images, K classes, H and W sides of an image.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Beta

from ltmed.data.batch import Batch
from ltmed.errors import require_between, require_choice
from ltmed.losses.traits import Loss
from ltmed.methods.erm import ERM
from ltmed.nn.network import Network
from ltmed.training.context import StageContext


class Mixing(ERM):
    """ERM on mixed images.

    Args:
        network: encoder and classifier.
        context: of the stage.
        loss: as in `ERM`.
        mix: "mixup" (Eq. 1) or "cutmix" (Eq. 2).
        alpha: a of Beta(a, a); towards 0 nothing is mixed.

    Raises:
        UserError: `mix` is neither, or `alpha` is out of range.
    """

    needs_images = True

    def __init__(
        self, network: Network, context: StageContext, *, loss: Loss, mix: str = "mixup", alpha: float = 0.2
    ) -> None:
        super().__init__(network, context, loss=loss)
        option = f"method.stages.{context.name}.module."
        require_choice(option + "mix", mix, tuple(MIXTURES))
        self.mix, self.shares = MIXTURES[mix], shares(option + "alpha", alpha, alpha)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Eq. 3 for one batch."""
        share = draw(self.shares)
        partners = torch.randperm(len(batch.labels), device=batch.labels.device)
        images, share = self.mix(batch.images, batch.images[partners], share)
        return mixed_loss(self.loss, self(images), batch.labels, batch.labels[partners], share, self.class_counts)


def shares(option: str, alpha: float, beta: float) -> Beta:
    """Beta(alpha, beta) on the CPU; UserError that names `option` unless 0.01 <= alpha <= 1000."""
    require_between(option, alpha, 0.01, 1000)
    # Double precision: a draw of a small alpha is a ratio of numbers that are often below the smallest float32.
    return Beta(*torch.tensor([alpha, beta], dtype=torch.float64).unbind(), validate_args=False)


def draw(distribution: Beta) -> Tensor:
    """One draw from torch's global generator, float32 `[]`, on the CPU: a GPU need not be waited for."""
    return distribution.sample().float()


def mixup(images: Tensor, others: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Eq. 1: `share` of `images` and the rest of `others`.

    Args:
        images: x_i, `[B, 3, H, W]`.
        others: x_j, `[B, 3, H, W]`.
        share: lambda in [0, 1], `[]`.

    Returns:
        x~ `[B, 3, H, W]` and lambda.
    """
    return share * images + (1 - share) * others, share


def cutmix(images: Tensor, others: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Eq. 2: `images` with a box of `others`, the same for the whole batch. Arguments and shapes as in `mixup`.

    Returns:
        x~ and the share of `images` in it, which the borders may make larger than the lambda that was drawn.
    """
    height, width = images.shape[-2:]
    side = (1 - share).sqrt()
    columns = _interval(width, side, images.device)
    rows = _interval(height, side, images.device)
    left = 1 - rows.float().mean() * columns.float().mean()
    return torch.where(rows[:, None] & columns, others, images), left


def _interval(size: int, side: Tensor, device: torch.device) -> Tensor:
    """True inside a random interval of about `side * size` pixels, clipped at the borders, bool `[size]`."""
    centre, reach = torch.randint(size, ()), (side / 2 * size).long()
    places = torch.arange(size, device=device)
    # A comparison, since a slice would need the numbers, and its shape would differ from step to step.
    return (places >= centre - reach) & (places < centre + reach)


MIXTURES = {"mixup": mixup, "cutmix": cutmix}


def mixed_loss(loss: Loss, logits: Tensor, labels: Tensor, others: Tensor, share: Tensor, counts: Tensor) -> Tensor:
    """Eq. 3, a scalar.

    Args:
        loss: `(logits, labels, counts) -> scalar`.
        logits: z of the mixed images, `[B, K]`.
        labels: y_i, int64 `[B]`.
        others: y_j, int64 `[B]`.
        share: lambda, `[]`.
        counts: training images per class, `[K]`.
    """
    return share * loss(logits, labels, counts) + (1 - share) * loss(logits, others, counts)
