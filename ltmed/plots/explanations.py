"""Images with maps of evidence: the maps of `ltmed.inference.class_maps` blended with their images.

Letters: B images, S side of the network's input, K classes.
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
from ltmed.data.splits.protocols import names_without_layout
from ltmed.inference import neighbours
from ltmed.inference.class_maps import ClassMaps
from ltmed.inference.ensemble import VIEWS, Ensemble
from ltmed.report.renderers.explanations import CaptionedImage, ExplainedImage
from ltmed.runs.reader import Run

COLOURS = "inferno"
STRENGTH = 0.7
"""Opacity of the strongest evidence."""
MAX_LISTED = 5
"""At most so many classes are listed, those with the largest probabilities."""


def overlay(image: np.ndarray, evidence: np.ndarray) -> np.ndarray:
    """An image blended with its map; unchanged where the map is 0.

    Args:
        image: uint8 [S, S, 3].
        evidence: [S, S] in [0, 1].

    Returns:
        uint8 [S, S, 3].
    """
    colours = 255 * np.asarray(colormaps[COLOURS](evidence))[..., :3]
    opacity = STRENGTH * evidence[..., None]
    return np.rint((1 - opacity) * image + opacity * colours).astype(np.uint8)


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
    true_probabilities = [
        float(wrong.at[row, f"prob_{label}"]) for row, label in zip(wrong.index, wrong["label"], strict=True)
    ]
    return wrong.assign(true_probability=np.array(true_probabilities, float)).nsmallest(number, "true_probability")


def worst_misses(run: Run, number: int, code: str) -> pd.DataFrame:
    """The test images with a label that the run did not predict, the least probable first.

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
    """uint8 [S, S, 3], the network's input before normalisation."""
    labels: tuple[str, ...] = ()
    """Class codes, if they are known. Of one class: its map is included too if another one was predicted."""
    facts: tuple[tuple[str, str], ...] = ()


def test_cases(run: Run, rows: pd.DataFrame, data: DataModule) -> Iterator[Case]:
    """Test images of a run with their true and predicted classes. Their folders may be others than they were.

    Args:
        run: finished.
        rows: of its predictions.parquet, as `worst_errors` gives them.
        data: the run's data set, opened.
    """
    images = data.manifest.images
    rows_by_name = {name: row for names in (names_without_layout(images), images) for row, name in enumerate(names)}
    kinds = ("labels", "predicted") if run.multilabel else ("label", "predicted")
    for name, row in zip(rows["image"], rows.to_dict("records"), strict=True):
        if run.multilabel:
            labels, predicted = (
                tuple(code for code in run.classes if row[f"{kind}_{code}"] == 1) for kind in ("label", "predicted")
            )
        else:
            labels, predicted = (row["label"],), (row["predicted"],)
        facts = zip(kinds, (", ".join(codes) or "none" for codes in (labels, predicted)), strict=True)
        (base_name,) = names_without_layout((name,))
        row_now = rows_by_name.get(name, rows_by_name.get(base_name))
        assert row_now is not None  # The opened data set has the run's split, whose digest knows these names.
        yield Case(str(name), neighbours.image(data, row_now), labels, tuple(facts))


class Explainer:
    """Explains images by maps of evidence of a run's network, and by the nearest training images.

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
        multilabel = ensemble.thresholds is not None
        self.maps = ClassMaps(self.member.network, self.member.preprocessing.size, multilabel=multilabel)
        self._training: neighbours.TrainingImages | None = None
        self._number = 0

    def use_training_images(self, data: DataModule, number: int) -> None:
        """Encodes the training part, so that the nearest `number` of its images are included.

        Args:
            data: the run's data set, opened.
            number: of neighbours of each image.
        """
        member = self.member
        self._training = neighbours.TrainingImages(data, member.network.encoder, member.mean, member.std)
        self._number = number

    def __call__(self, cases: Sequence[Case], only: str | None = None) -> list[tuple[ExplainedImage, bytes]]:
        """The explanation of each of B images, and the PNG of its first map.

        Args:
            cases: one batch of the network.
            only: code of the class that is explained; None explains the predicted class, and the labelled one besides,
                which a network of several labels does not have.
        """
        pixels = [torch.from_numpy(np.stack([case.pixels for case in cases]))]
        with torch.no_grad():
            features = self.member.features(pixels)
            predicted = self.member.network.classifier(features).argmax(1).tolist()
        classes_of_cases = [self._classes_of(case, k, only) for case, k in zip(cases, predicted, strict=True)]
        rows = [row for row, classes in enumerate(classes_of_cases) for _ in classes]
        images = self.member.images(pixels)[rows]
        selected = torch.tensor([k for classes in classes_of_cases for k in classes])
        probabilities, maps = self.maps(images, selected)
        results = []
        neighbours_of_cases = self._training.nearest(features, self._number) if self._training else [[] for _ in cases]
        for row, case in enumerate(cases):
            indices = [index for index, other in enumerate(rows) if other == row]
            overlays = [overlay(case.pixels, maps[index]) for index in indices]
            captions = [
                self._caption(k, case, predicted[row], maps[p])
                for k, p in zip(classes_of_cases[row], indices, strict=True)
            ]
            figures = [CaptionedImage("image", png(case.pixels))]
            figures += [CaptionedImage(text, png(image)) for text, image in zip(captions, overlays, strict=True)]
            explained = ExplainedImage(
                case.title, case.facts, tuple(figures), self._probabilities(probabilities[indices[0]], case.labels),
                tuple(self._neighbour(neighbour) for neighbour in neighbours_of_cases[row]),
            )  # fmt: skip
            results.append((explained, png(overlays[0])))
        return results

    def _classes_of(self, case: Case, predicted: int, only: str | None) -> list[int]:
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
        listed = [k for rank, k in enumerate(order) if rank < MAX_LISTED or self.classes[k] in labels]
        return tuple((self.classes[k], float(values[k]), self.classes[k] in labels) for k in listed)

    def _neighbour(self, neighbour: neighbours.Neighbour) -> CaptionedImage:
        assert self._training is not None
        image = neighbours.image(self._training.data, neighbour.row)
        return CaptionedImage(f"{neighbour.label}, cosine {neighbour.similarity:.3f}", png(image))


def png(image: np.ndarray) -> bytes:
    """A uint8 [S, S, 3] RGB image as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()
