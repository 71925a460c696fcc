"""Predictions of several networks for the same images."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from ltmed.data.manifest import Manifest
from ltmed.errors import UserError
from ltmed.inference import evaluate, parts
from ltmed.inference.parts import Labelled, joined, own_config, own_part
from ltmed.runs.reader import Run, read_run
from tests.plots.cases import make_run


def manifest_of(*images: str) -> Manifest:
    labels = np.arange(len(images)) % 2
    return Manifest(name="x", root=Path("/x"), images=images, labels=labels, classes=("a", "b"), class_names=("a", "b"))


def test_members_whose_data_lie_in_other_folders_are_joined_by_image():
    first = manifest_of("1.png", "2.png", "3.png", "4.png")
    second = manifest_of("f/2.jpg", "f/4.jpg", "m/1.jpg", "m/3.jpg")

    def part(manifest: Manifest, values: list[float]) -> Labelled:
        rows = torch.arange(len(values))
        members = torch.tensor([[[value, 1 - value] for value in values]]).reshape(1, len(values), 2)
        return Labelled(manifest, members, torch.from_numpy(manifest.labels)[rows], rows, ("a", "b"))

    one, two = part(first, [0.1, 0.2, 0.3, 0.4]), part(second, [0.2, 0.4, 0.1, 0.3])
    found = joined([one, two])
    assert torch.equal(found.members[0], found.members[1]), "each image has one value in both"
    assert torch.equal(found.members[0], one.members[0])
    assert found.manifest is first
    assert joined([one, part(manifest_of("3.png", "5.png"), [0.3, 0.5])]).rows.tolist() == [2]
    assert len(joined([part(first, [])]).rows) == 0, "a run without validation images"
    with pytest.raises(UserError, match="no image in common"):
        joined([one, part(manifest_of("5.png"), [0.5])])


def test_members_that_could_not_read_the_same_images_are_joined_by_image():
    manifest = manifest_of(*(f"{row}.png" for row in range(5)))

    def part(rows: list[int], member: int) -> Labelled:
        probabilities = torch.tensor([[[row / 10 + member, 1 - row / 10] for row in rows]])
        labels = torch.from_numpy(manifest.labels[rows])
        return Labelled(manifest, probabilities, labels, torch.tensor(rows), ("a", "b"))

    found = joined([part([0, 1, 3, 4], 0), part([0, 2, 3, 4], 1)])  # As many, but not the same.
    assert found.rows.tolist() == [0, 3, 4]
    assert found.labels.tolist() == [0, 1, 0]
    assert found.members[:, :, 0].tolist() == torch.tensor([[0, 0.3, 0.4], [1, 1.3, 1.4]]).tolist()


def run_of(folder: Path) -> Run:
    run = read_run(make_run(folder / "run"))
    assert run is not None
    return run


def test_a_run_is_not_evaluated_on_its_classes_in_another_order(tmp_path, monkeypatch):
    """Labels are numbers by then, and the digest of a split knows their names alone."""
    run = run_of(tmp_path)
    reordered = cast(Any, SimpleNamespace(manifest=SimpleNamespace(classes=tuple(reversed(run.classes)))))
    monkeypatch.setattr(parts, "open_dataset", lambda *_: reordered)
    monkeypatch.setattr(parts, "open_images", lambda *_: pytest.fail("images are opened"))
    with pytest.raises(UserError, match="dataset.classes"):
        own_part(run, "test")


@pytest.mark.parametrize("override", ["dataset.root", "dataset.root=", "cache_dir="])
def test_a_setting_of_the_data_without_a_value_is_named(override, tmp_path):
    with pytest.raises(UserError, match=f"{override} has no value"):
        own_config(run_of(tmp_path), [override])


def test_images_are_not_said_to_be_left_out_where_nothing_is_compared(tmp_path):
    with pytest.raises(UserError, match="--leave-out-trained has no effect"):
        evaluate.evaluate_run(run_of(tmp_path), evaluate.Request(leave_out_trained=True))
