"""Several networks, or several views of one image, as one prediction: the mean probability and how far they disagree.

The mean of the members' probabilities is that of a deep ensemble (Lakshminarayanan et al., "Simple and Scalable
Predictive Uncertainty Estimation using Deep Ensembles", NeurIPS 2017, section 2.4), and the disagreement is the mutual
information between the class and the member: the entropy of the mean minus the mean entropy (Depeweg et al.,
"Decomposition of Uncertainty in Bayesian Deep Learning", ICML 2018, Eq. 2).

Letters: B images, S side of a network's input, K classes, M members (networks times views).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.nn import functional

from ltmed.data.batch import normalise
from ltmed.data.sides import named, sides
from ltmed.errors import UserError
from ltmed.inference.preprocessing import LoadedRun, Preprocessing, open_run
from ltmed.inference.restore import finished_run
from ltmed.losses.triplet import distances
from ltmed.nn.centres import CentreHead
from ltmed.nn.decoupled import NearestMean
from ltmed.nn.network import Network
from ltmed.runs.reader import Run

View = Callable[[Tensor], Tensor]
"""Normalised images [B, 3, S, S] -> another view of the same images."""


def _identity(images: Tensor) -> Tensor:
    return images


VIEWS: dict[str, tuple[View, ...]] = {
    "none": (_identity,),
    "flips": (
        _identity,
        lambda images: images.flip(-1),
        lambda images: images.flip(-2),
        lambda images: images.flip((-2, -1)),
    ),
}
"""Test-time views by name; the probabilities of a network are the mean over them."""


def require_sides_kept(tta: str, classes: Sequence[str], names: Sequence[str]) -> None:
    """Checks that mirrored views show the same class.

    Args:
        tta: a key of `VIEWS`.
        classes: codes.
        names: of the same classes.

    Raises:
        UserError: views are mirrored, and classes name a side (`ltmed.data.sides`).
    """
    if tta == "flips" and (pairs := sides(names) or sides(classes)):
        raise UserError(
            f"tta=flips mirrors images, and {named(pairs)} are mirror images of each other", "Leave it out."
        )


def disagreement(probabilities: Tensor) -> Tensor:
    """Mutual information between class and member, in nats.

    Args:
        probabilities: [M, B, K], each row of a member sums to 1.

    Returns:
        [B], from 0 (all members say the same) to log min(M, K).
    """
    mean = torch.special.entr(probabilities.mean(0)).sum(-1)
    return (mean - torch.special.entr(probabilities).sum(-1).mean(0)).clamp(min=0)


def centre_distances(head: nn.Module) -> Callable[[Tensor], Tensor] | None:
    """A function from features [B, D] to Euclidean distances [B, K] to the class centres, if the head has any."""
    if isinstance(head, CentreHead):
        return lambda features: distances(head.embed(features), head.centres)
    if isinstance(head, NearestMean) and head.is_set:
        # For vectors of norm 1, cosines and distances rank classes in the same order.
        means = functional.normalize(head.means, dim=1) if head.metric == "cosine" else head.means
        return lambda features: distances(head.normalised(features), means)
    return None


@dataclass(frozen=True)
class Member:
    """One network on its device, with the preprocessing of its images."""

    network: Network
    preprocessing: Preprocessing
    pixels_index: int
    """Index of its images in `Ensemble.preprocessings`: members with the same preprocessing share them."""
    mean: Tensor
    std: Tensor
    """[3], of pixels from 0 to 255."""

    def images(self, pixels: Sequence[Tensor]) -> Tensor:
        """Normalised images [B, 3, S, S] on the network's device; `pixels` as `Ensemble.probabilities` takes them."""
        return normalise(pixels[self.pixels_index].to(self.mean.device, non_blocking=True), self.mean, self.std)

    def features(self, pixels: Sequence[Tensor], view: View = _identity) -> Tensor:
        """Encoder features [B, D] of one view of the images."""
        return self.network.encoder(view(self.images(pixels)))


class Ensemble:
    """The networks of finished runs with the same classes, as one.

    Args:
        runs: folders of finished runs, or the runs; of the same classes in the same order.
        device: where the networks compute.
        views: of every image for every network.

    Raises:
        UserError: there is no finished run, one is given twice, the runs have different classes, or several runs have
            several labels.
    """

    def __init__(self, runs: Sequence[str | Path | Run], device: torch.device, views: Sequence[View]) -> None:
        finished = [finished_run(run) for run in runs]
        require_members(finished)
        loaded = [open_run(run) for run in finished]
        self.thresholds = loaded[0].thresholds
        """Thresholds of several labels, K, chosen on one view; None for runs whose images carry one label."""
        if len(loaded) > 1 and any(run.thresholds is not None for run in loaded):
            raise UserError(
                "Runs of several labels per image are no ensemble: each has thresholds of its own",
                "Predict with one of them; --tta works.",
            )
        keys = list(dict.fromkeys(map(_pixel_key, loaded)))
        self.members = [_member(run, keys.index(_pixel_key(run)), device) for run in loaded]
        self.views = tuple(views)
        self.classes, self.names = loaded[0].classes, loaded[0].names
        self.preprocessings: list[Preprocessing] = [
            next(member.preprocessing for member in self.members if member.pixels_index == pixels_index)
            for pixels_index in range(len(keys))
        ]
        """Those of the members, without repetitions."""

    def __len__(self) -> int:
        """M: networks times views."""
        return len(self.members) * len(self.views)

    def probabilities(self, pixels: Sequence[Tensor]) -> Tensor:
        """The probabilities [M, B, K] of every member: softmax, or sigmoids of several labels.

        Args:
            pixels: for each of `preprocessings` uint8 [B, S, S, 3] of the same B images.
        """
        logits = torch.stack(
            [
                member.network.classifier(member.features(pixels, view)).float()
                for member in self.members
                for view in self.views
            ]
        )
        return logits.softmax(2) if self.thresholds is None else logits.sigmoid()


def require_members(runs: Sequence[Run]) -> None:
    """Checks that probabilities of the runs can be averaged.

    Raises:
        UserError: a run is given twice; two runs have different classes, or the same in another order.
    """
    first, folders = runs[0], [run.path.resolve() for run in runs]
    for index, run in enumerate(runs):
        if folders[index] in folders[:index]:
            raise UserError(f"{run.path} is given twice and would count double", "Give each run of an ensemble once.")
    for run in runs[1:]:
        if run.classes != first.classes:
            missing = sorted(set(first.classes) ^ set(run.classes))
            which = f"only one of them has {', '.join(missing[:5])}" if missing else "in another order"
            raise UserError(
                f"{run.path} has other classes than {first.path}: {which}",
                "The members of an ensemble need the same classes: give runs of one data set.",
            )


def _member(trained: LoadedRun, pixels_index: int, device: torch.device) -> Member:
    preprocessing = trained.preprocessing
    mean, std = (255 * torch.tensor(values, device=device) for values in (preprocessing.mean, preprocessing.std))
    return Member(trained.network.to(device), preprocessing, pixels_index, mean, std)


def _pixel_key(trained: LoadedRun) -> str:
    """A key that is equal for runs with the same preprocessing."""
    config = trained.run.config
    settings = [OmegaConf.to_container(part, resolve=True) for part in (config.evaluation, config.pixels)]
    return json.dumps([settings, trained.run.facts["pixels"]], sort_keys=True, default=str)
