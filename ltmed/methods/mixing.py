"""MixUp and CutMix: training on mixtures of two images of the batch, with their labels mixed in the same proportion.

H. Zhang, M. Cisse, Y. N. Dauphin, D. Lopez-Paz, "mixup: Beyond Empirical Risk Minimization", ICLR 2018.
S. Yun, D. Han, S. J. Oh, S. Chun, J. Choe, Y. Yoo, "CutMix: Regularization Strategy to Train Strong Classifiers with
Localizable Features", ICCV 2019.

In every step, with one lambda ~ Beta(a, a) and one random pairing (i, j) of the images of the batch:

    (1) MixUp    x~ = lambda x_i + (1 - lambda) x_j
    (2) CutMix   x~ = x_i with a box of x_j, whose centre is uniform and whose sides are sqrt(1 - lambda) of the
                 image's, clipped at the borders; lambda becomes the remaining share of x_i
    (3) L = lambda loss(z(x~), y_i) + (1 - lambda) loss(z(x~), y_j)

Images and labels are mixed as in `torchvision.transforms.v2.MixUp` and `CutMix`. Those are not used, since they return
mixed labels, and the losses here take class indices. For cross-entropy, (3) is the loss of the mixed labels.
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
        alpha: a of Beta(a, a); as it approaches 0, images are no longer mixed.

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
        self.mix, self.lambda_distribution = MIXTURES[mix], lambda_distribution(option + "alpha", alpha, alpha)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Eq. 3 for one batch."""
        lam = sample_lambda(self.lambda_distribution)
        permutation = torch.randperm(len(batch.labels), device=batch.labels.device)
        images, lam = self.mix(batch.images, batch.images[permutation], lam)
        labels = self.targets(batch.labels)
        return mixed_loss(self.loss, self(images), labels, labels[permutation], lam, self.class_counts)


def lambda_distribution(option: str, alpha: float, beta: float) -> Beta:
    """Beta(alpha, beta) on the CPU; UserError that names `option` unless 0.01 <= alpha <= 1000."""
    require_between(option, alpha, 0.01, 1000)
    # float64: for a small alpha, a sample is a ratio of numbers that often underflow in float32.
    return Beta(*torch.tensor([alpha, beta], dtype=torch.float64).unbind(), validate_args=False)


def sample_lambda(distribution: Beta) -> Tensor:
    """One sample from torch's global generator, float32 `[]`, on the CPU, which avoids synchronising with a GPU."""
    return distribution.sample().float()


def mixup(images: Tensor, partners: Tensor, lam: Tensor) -> tuple[Tensor, Tensor]:
    """Eq. 1: lambda times `images` plus (1 - lambda) times `partners`.

    Args:
        images: x_i, `[B, 3, H, W]`.
        partners: x_j, `[B, 3, H, W]`.
        lam: lambda in [0, 1], `[]`.

    Returns:
        x~ `[B, 3, H, W]` and lambda.
    """
    return lam * images + (1 - lam) * partners, lam


def cutmix(images: Tensor, partners: Tensor, lam: Tensor) -> tuple[Tensor, Tensor]:
    """Eq. 2: `images` with a box of `partners`, the same box for the whole batch. Arguments and shapes as in `mixup`.

    Returns:
        x~ and the share of `images` in it, which exceeds the sampled lambda where the box is clipped at a border.
    """
    height, width = images.shape[-2:]
    fraction = (1 - lam).sqrt()
    columns = _interval(width, fraction, images.device)
    rows = _interval(height, fraction, images.device)
    new_lam = 1 - rows.float().mean() * columns.float().mean()
    return torch.where(rows[:, None] & columns, partners, images), new_lam


def _interval(size: int, fraction: Tensor, device: torch.device) -> Tensor:
    """True inside a random interval of `fraction * size` pixels, clipped at the borders, bool `[size]`."""
    centre, radius = torch.randint(size, ()), (fraction / 2 * size).long()
    positions = torch.arange(size, device=device)
    # A mask instead of a slice: a slice needs the values on the host and has a different shape in every step.
    return (positions >= centre - radius) & (positions < centre + radius)


MIXTURES = {"mixup": mixup, "cutmix": cutmix}


def mixed_loss(loss: Loss, logits: Tensor, labels: Tensor, partners: Tensor, lam: Tensor, counts: Tensor) -> Tensor:
    """Eq. 3, a scalar.

    Args:
        loss: `(logits, labels, counts) -> scalar`.
        logits: z of the mixed images, `[B, K]`.
        labels: y_i, int64 `[B]`, or 0/1/NaN `[B, K]`.
        partners: y_j, likewise.
        lam: lambda, `[]`.
        counts: training images per class, `[K]`.
    """
    return lam * loss(logits, labels, counts) + (1 - lam) * loss(logits, partners, counts)
