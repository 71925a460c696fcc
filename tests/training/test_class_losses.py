"""The training loss of each class: means of single images, and no effect on training."""

from __future__ import annotations

import csv

import pytest
import torch
from torch.nn import functional

import ltmed
from ltmed.losses.classification import cross_entropy
from ltmed.losses.gcl import gcl
from ltmed.training.class_losses import ClassLosses
from tests.harness import assert_same_weights, only_run, weights

COUNTS = torch.tensor([50, 10, 5, 1])


def test_means_are_those_of_the_images_of_each_class_over_all_batches():
    rng = torch.Generator().manual_seed(0)
    losses = ClassLosses(4)
    losses.start(torch.device("cpu"))
    found: dict[int, list[float]] = {}
    for _ in range(3):
        logits, labels = torch.randn(20, 4, generator=rng), torch.randint(0, 3, (20,), generator=rng)
        losses.add_from(cross_entropy, logits, labels, COUNTS)
        for row, label in zip(logits, labels, strict=True):
            found.setdefault(int(label), []).append(float(-row.log_softmax(0)[label]))
    means = losses.means()
    for k in range(3):
        assert float(means[k]) == pytest.approx(sum(found[k]) / len(found[k]), rel=1e-6)
    assert means[3].isnan(), "no image of it"
    losses.start(torch.device("cpu"))
    assert losses.means().isnan().all(), "every epoch begins anew"


def test_single_images_and_batches_give_the_same():
    logits, labels = torch.randn(30, 4), torch.arange(30) % 4
    one, other = ClassLosses(4), ClassLosses(4)
    for losses in (one, other):
        losses.start(torch.device("cpu"))
    one.add(functional.cross_entropy(logits, labels, reduction="none"), labels)
    other.add_from(cross_entropy, logits, labels, COUNTS)
    torch.testing.assert_close(one.means(), other.means(), rtol=1e-6, atol=0)


def test_random_numbers_of_the_training_stay_as_they_are():
    logits, labels = torch.randn(8, 4, requires_grad=True), torch.arange(8) % 4
    losses = ClassLosses(4)
    losses.start(torch.device("cpu"))
    before = torch.get_rng_state()
    losses.add_from(lambda *given: gcl(*given, scale=30.0), logits, labels, COUNTS)
    assert torch.equal(torch.get_rng_state(), before)
    assert logits.grad is None


@pytest.mark.slow
@pytest.mark.parametrize("method", ["erm", "aduni"])
def test_a_run_logs_them_and_computes_the_same(method, tiny, tmp_path):
    with_them, without = tmp_path / "with", tmp_path / "without"
    for folder, wanted in ((with_them, "true"), (without, "false")):
        folder.mkdir()
        ltmed.train([*tiny, f"method={method}", "epochs=2", f"runs={folder}", f"class_losses={wanted}"])
    assert_same_weights(weights(with_them), weights(without))
    assert only_run(with_them).relative_to(with_them) == only_run(without).relative_to(without), (
        "not in the folder's name"
    )
    with (only_run(with_them) / "metrics.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["name"].startswith("train/train/class_loss/")]
    assert [int(row["epoch"]) for row in rows] == [0] * 7 + [1] * 7
    assert all(float(row["value"]) > 0 for row in rows)
    with (only_run(without) / "metrics.csv").open(newline="") as file:
        assert not any("class_loss" in row["name"] for row in csv.DictReader(file))


@pytest.mark.slow
def test_a_method_without_losses_of_single_images_says_so(tiny):
    with pytest.warns(UserWarning, match="class_losses"):
        ltmed.train([*tiny, "method=pcct", "epochs=1", "class_losses=true"])
