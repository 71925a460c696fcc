"""Pictures of where a network saw evidence: the maps of `ltmed.inference.class_maps` laid over their images.

Letters: B images, S side of what the network sees, K classes.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from matplotlib import colormaps
from PIL import Image

from ltmed.data.datamodule import DataModule
from ltmed.inference import neighbours
from ltmed.inference.class_maps import ClassMaps
from ltmed.inference.ensemble import VIEWS, Ensemble
from ltmed.report.renderers.explanations import Explained, Picture
from ltmed.runs.reader import Run

COLOURS = "inferno"
STRENGTH = 0.7
"""How much of the image the strongest evidence hides."""
SHOWN = 5
"""Classes with the largest probabilities that are listed."""


def overlay(image: np.ndarray, evidence: np.ndarray) -> np.ndarray:
    """An image under its map; where the map is 0 the image is as it was.

    Args:
        image: uint8 [S, S, 3].
        evidence: [S, S] in [0, 1].

    Returns:
        uint8 [S, S, 3].
    """
    colours = 255 * np.asarray(colormaps[COLOURS](evidence))[..., :3]
    cover = STRENGTH * evidence[..., None]
    return np.rint((1 - cover) * image + cover * colours).astype(np.uint8)


def worst_errors(run: Run, number: int, tier: str = "tail") -> pd.DataFrame:
    """The misclassified test images of a tier whose true class has the smallest probability, smallest first.

    Args:
        run: finished, with its predictions.
        number: at most so many.
        tier: `head`, `medium` or `tail`.

    Returns:
        rows of predictions.parquet, with a further column `true_probability`.
    """
    table = run.predictions
    wrong = table[(table["label"] != table["predicted"]) & table["label"].isin(run.metrics["tiers"][tier])]
    own = [float(wrong.at[row, f"prob_{label}"]) for row, label in zip(wrong.index, wrong["label"], strict=True)]
    return wrong.assign(true_probability=np.array(own, float)).nsmallest(number, "true_probability")


def worst_misses(run: Run, number: int, code: str) -> pd.DataFrame:
    """The test images with one of several labels that the run did not decide for, the least probable first.

    Args:
        run: finished, with its predictions.
        number: at most so many.
        code: of the label.

    Returns:
        rows of predictions.parquet, with a further column `true_probability`.
    """
    table = run.predictions
    missed = table[(table[f"label_{code}"] == 1) & (table[f"predicted_{code}"] == 0)]
    return missed.assign(true_probability=missed[f"prob_{code}"]).nsmallest(number, "true_probability")


@dataclass(frozen=True)
class Case:
    """An image to be explained."""

    title: str
    pixels: np.ndarray
    """uint8 [S, S, 3], as the network sees it."""
    labels: tuple[str, ...] = ()
    """Class codes, if they are known. Of one class: its map is shown too where another one was predicted."""
    facts: tuple[tuple[str, str], ...] = ()


def test_cases(run: Run, rows: pd.DataFrame, data: DataModule) -> Iterator[Case]:
    """Test images of a run with what they are and what they were taken for.

    Args:
        run: finished.
        rows: of its predictions.parquet, as `worst_errors` gives them.
        data: the run's data set, opened.
    """
    places = {name: row for row, name in enumerate(data.manifest.images)}
    kinds = ("labels", "predicted") if run.multilabel else ("label", "predicted")
    for name, row in zip(rows["image"], rows.to_dict("records"), strict=True):
        if run.multilabel:
            labels, predicted = (
                tuple(code for code in run.classes if row[f"{kind}_{code}"] == 1) for kind in ("label", "predicted")
            )
        else:
            labels, predicted = (row["label"],), (row["predicted"],)
        facts = zip(kinds, (", ".join(codes) or "none" for codes in (labels, predicted)), strict=True)
        yield Case(str(name), neighbours.image(data, places[name]), labels, tuple(facts))


class Explainer:
    """The network of a run, what it looks at, and the training images that it finds alike.

    Args:
        run: finished.
        device: where it computes.

    Raises:
        UserError: see `ClassMaps`.
    """

    def __init__(self, run: Run, device: torch.device) -> None:
        ensemble = Ensemble([run], device, VIEWS["none"])
        (self.member,) = ensemble.members
        self.classes = ensemble.classes
        several = ensemble.thresholds is not None
        self.maps = ClassMaps(self.member.network, self.member.preprocessing.size, multilabel=several)
        self._training: neighbours.TrainingImages | None = None
        self._number = 0

    def use_training_images(self, data: DataModule, number: int) -> None:
        """Encodes the training part, so that the nearest `number` of its images are shown too.

        Args:
            data: the run's data set, opened.
            number: of neighbours of each image.
        """
        member = self.member
        self._training = neighbours.TrainingImages(data, member.network.encoder, member.mean, member.std)
        self._number = number

    def __call__(self, cases: Sequence[Case], only: str | None = None) -> list[tuple[Explained, bytes]]:
        """What is shown of each of B images, and the PNG of its first map.

        Args:
            cases: so many as the network may see at once.
            only: code of the class that is explained; None explains the predicted class, and the labelled one besides,
                which a network of several labels does not have.
        """
        pixels = [torch.from_numpy(np.stack([case.pixels for case in cases]))]
        with torch.no_grad():
            features = self.member.features(pixels)
            predicted = self.member.network.classifier(features).argmax(1).tolist()
        wanted = [self._wanted(case, k, only) for case, k in zip(cases, predicted, strict=True)]
        rows = [row for row, classes in enumerate(wanted) for _ in classes]
        images = self.member.images(pixels)[rows]
        chosen = torch.tensor([k for classes in wanted for k in classes])
        probabilities, maps = self.maps(images, chosen)
        found = []
        near = self._training.nearest(features, self._number) if self._training else [[] for _ in cases]
        for row, case in enumerate(cases):
            mine = [place for place, other in enumerate(rows) if other == row]
            pictures = [overlay(case.pixels, maps[place]) for place in mine]
            captions = [self._caption(k, case, predicted[row], maps[p]) for k, p in zip(wanted[row], mine, strict=True)]
            shown = [Picture("image", png(case.pixels))]
            shown += [Picture(text, png(image)) for text, image in zip(captions, pictures, strict=True)]
            explained = Explained(
                case.title, case.facts, tuple(shown), self._probabilities(probabilities[mine[0]], case.labels),
                tuple(self._neighbour(one) for one in near[row]),
            )  # fmt: skip
            found.append((explained, png(pictures[0])))
        return found

    def _wanted(self, case: Case, predicted: int, only: str | None) -> list[int]:
        if only is not None:
            return [self.classes.index(only)]
        labelled = [self.classes.index(code) for code in case.labels]
        return list(dict.fromkeys([predicted, *labelled]))

    def _caption(self, k: int, case: Case, predicted: int, evidence: np.ndarray) -> str:
        role = (
            "predicted"
            if k == predicted and not self.maps.multilabel
            else "label"
            if self.classes[k] in case.labels
            else "asked for"
        )
        return f"for {self.classes[k]} ({role})" + ("" if evidence.any() else ": nothing speaks for it")

    def _probabilities(self, values: np.ndarray, labels: tuple[str, ...]) -> tuple[tuple[str, float, bool], ...]:
        order = np.argsort(-values, kind="stable")
        kept = [k for place, k in enumerate(order) if place < SHOWN or self.classes[k] in labels]
        return tuple((self.classes[k], float(values[k]), self.classes[k] in labels) for k in kept)

    def _neighbour(self, one: neighbours.Neighbour) -> Picture:
        assert self._training is not None
        image = neighbours.image(self._training.data, one.row)
        return Picture(f"{one.label}, cosine {one.similarity:.3f}", png(image))


def png(image: np.ndarray) -> bytes:
    """A uint8 [S, S, 3] RGB image as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()
