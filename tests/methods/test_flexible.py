"""Flexible sampling: the contrast, the anchors, the queries and what decides on them, all against slow loops."""

from __future__ import annotations

import copy
import math
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from scipy import stats

import ltmed
from ltmed.errors import UserError
from ltmed.losses.classification import cross_entropy
from ltmed.losses.margins import logit_adjusted
from ltmed.methods.flexible import Curriculum, SelfContrast, disagreement, query_sizes
from ltmed.nn.dropout_head import DropoutLinear
from ltmed.nn.heads import Linear
from ltmed.nn.network import Network
from tests.harness import QUICK
from tests.methods.small import Encoder, K, batch, context, updated
from tests.methods.small_flexible import AHEAD, COUNTS, LABELS, N, Plain, curriculum, fit, network
from tests.methods.two_ranks import TwoRanks

# --- stage 1 --------------------------------------------------------------------------------------------------


def test_contrast_updates_everything_but_the_classifier() -> None:
    stage = SelfContrast(network(), context(), temperature=0.5)
    updated(stage, batch())
    assert not any(parameter.requires_grad for parameter in stage.network.classifier.parameters())


def test_contrast_is_that_of_two_views_of_one_image() -> None:
    stage, data = SelfContrast(network(), context(), temperature=0.5), batch(6)
    assert data.views is not None
    assert stage.network.projector is not None
    actual = stage.training_step(data, 0)
    with torch.no_grad():
        f = stage.network.projector(stage.network.encoder(torch.cat([data.images, data.views]))).double()
    losses = []
    for i in range(12):
        others = {j: math.exp(float(f[i] @ f[j]) / 0.5) for j in range(12) if j != i}
        losses.append(-math.log(others[(i + 6) % 12] / sum(others.values())))
    assert float(actual.detach()) == pytest.approx(float(np.mean(losses)), rel=1e-4)


# --- equations ------------------------------------------------------------------------------------------------


def test_disagreement_is_the_mutual_information() -> None:
    votes = (3 * torch.randn(10, 7, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)).softmax(2)
    actual = disagreement(votes)
    for i in range(7):
        each = [stats.entropy(vote[i]) for vote in votes]
        assert float(actual[i]) == pytest.approx(float(stats.entropy(votes[:, i].mean(0)) - np.mean(each)))
    certain = torch.eye(4, dtype=torch.float64)[:, None]
    assert float(disagreement(certain)) == pytest.approx(math.log(4))
    assert float(disagreement(certain[[1, 1]])) == pytest.approx(0)
    assert disagreement(torch.tensor([[[1e4, -1e4]], [[-1e4, 1e4]]]).softmax(2)).isfinite().all()


@pytest.mark.parametrize("recalls", [[0.9, 0.5, 0.0, 0.2], [1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
def test_query_sizes_are_those_of_the_equation(recalls: list[float]) -> None:
    unused, share = [1000, 57, 0, 3], 0.1
    missed = [1 - recall for recall in recalls]
    p = [4 * m / sum(missed) if sum(missed) else 1 for m in missed]
    expected = [min(max(1, math.floor(share * p[c] * unused[c])), unused[c]) for c in range(4)]
    actual = query_sizes(torch.tensor(recalls, dtype=torch.float64), torch.tensor(unused), share)
    assert actual.tolist() == expected


# --- stage 2 --------------------------------------------------------------------------------------------------


def test_curriculum_updates_everything_but_the_projector() -> None:
    stage = curriculum()
    updated(stage, batch())
    assert stage.network.projector is not None
    assert not any(parameter.requires_grad for parameter in stage.network.projector.parameters())


@pytest.mark.parametrize("anchors", [0.2, 0.5, 1.0])
def test_anchors_are_the_images_nearest_to_their_class_mean(anchors: float) -> None:
    stage = curriculum(anchors=anchors)
    start = copy.deepcopy(stage.network.encoder).eval()
    data = fit(stage, 1)
    with torch.no_grad():
        features = start(data.images).double().numpy()
    expected = np.zeros(N, bool)
    for label, count in enumerate(COUNTS):
        mine = np.flatnonzero(label == LABELS)
        distances = np.linalg.norm(features[mine] - features[mine].mean(0), axis=1)
        expected[mine[np.argsort(distances)[: min(count, int(anchors * max(COUNTS)))]]] = True
    np.testing.assert_array_equal(stage.seen[0]["after"].numpy(), expected)
    assert stage.seen[0]["class_counts"].tolist() == np.bincount(LABELS[expected], minlength=K).tolist()
    assert data.loader is not None
    (batches,) = data.loader.used
    assert batches.shape == (N // 8, 8), "as many steps as with all images"
    assert set(batches.ravel()) <= set(np.flatnonzero(expected))


def test_a_query_adds_the_images_with_the_largest_disagreement(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = curriculum(anchors=0.2)
    scores = torch.rand(N + AHEAD, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scores[: AHEAD + N // 2] = 0.5  # Ties: the image that comes first.
    monkeypatch.setattr(stage, "_disagreement", lambda part: scores[part.indices])
    data = fit(stage, 4)
    for before, now in zip(stage.seen, stage.seen[1:], strict=False):
        used, recalls = before["after"].numpy(), now["recalls"].numpy()
        np.testing.assert_array_equal(now["in_use"].numpy(), used)
        expected, p = used.copy(), K * (1 - recalls) / (1 - recalls).sum()
        for label in range(K):
            pool = np.flatnonzero(~used & (label == LABELS)).tolist()
            number = max(1, int(0.5 * p[label] * len(pool)))
            expected[sorted(pool, key=lambda place: (-float(scores[place + AHEAD]), place))[:number]] = True
        np.testing.assert_array_equal(now["after"].numpy(), expected)
        assert expected.sum() > used.sum() or used.all()
        assert now["class_counts"].tolist() == np.bincount(LABELS[expected], minlength=K).tolist()
    assert data.loader is not None
    for observed, batches in zip(stage.seen, data.loader.used, strict=True):
        assert set(batches.ravel()) <= set(np.flatnonzero(observed["after"].numpy()))


def test_disagreement_of_a_batch_draws_dropout_and_leaves_modes_alone() -> None:
    stage = curriculum(draws=400)
    modes = [module.training for module in stage.modules()]
    data = fit(stage, 1)
    assert [module.training for module in stage.modules()] == modes
    stage.eval()
    torch.manual_seed(0)
    with torch.no_grad():
        actual = stage._disagreement(data.batch(torch.arange(N)))
        features = stage.network.encoder(data.images)
        votes = torch.stack([
            F.linear(F.dropout(features, 0.5), *stage.network.classifier.linear.parameters())  # pyright: ignore
            for _ in range(4000)
        ])  # fmt: skip
    assert actual.shape == (N,)
    assert (actual > 0).all()
    torch.testing.assert_close(actual, disagreement(votes.double().softmax(2)), rtol=0.2, atol=1e-4)


def queries(recalls: list[float], **options: Any) -> list[int]:
    """Epochs that begin with a query when validation ends with these results."""
    stage, asked = curriculum(epochs=len(recalls), **options), []
    stage.in_use[0] = False

    def query() -> None:
        asked.append(epoch)
        stage.waited.zero_()
        stage.stale.mul_(stage.stale < stage.patience)

    stage._rows = lambda: np.arange(N)  # pyright: ignore[reportAttributeAccessIssue]
    for epoch, recall in enumerate(recalls):
        Plain.current_epoch = epoch  # pyright: ignore[reportAttributeAccessIssue]
        if stage._is_due():
            query()
        right = torch.eye(K)[torch.arange(K)] * recall + (1 - recall) * torch.eye(K).roll(1, 0)
        stage.gather_evaluation = lambda found=right: SimpleNamespace(  # pyright: ignore[reportAttributeAccessIssue]
            probabilities=found,
            labels=torch.arange(K),
            indices=torch.arange(K),
            classes=("a", "b", "c"),
            multilabel=False,
        )
        stage.log_dict = lambda *_, **__: None  # pyright: ignore[reportAttributeAccessIssue]
        stage.on_validation_epoch_end()
    return asked


@pytest.mark.parametrize(
    ("options", "recalls", "expected"),
    [
        ({"warmup": 0.0, "interval": 0.2, "patience": 1.0}, [1.0] * 10, [2, 4, 6, 8]),
        ({"warmup": 0.3, "interval": 0.3, "patience": 1.0}, [1.0] * 10, [6, 9]),
        ({"warmup": 0.2, "interval": 1.0, "patience": 0.3}, [0, 1, 1, 1, 1, 1, 1, 1, 1, 1], [5, 8]),
        ({"warmup": 1.0, "interval": 0.1, "patience": 0.1}, [0.0] * 10, []),
        ({"warmup": 0.0, "interval": 0.1, "patience": 0.1, "anchors": 1.0}, [0.0] * 3, [1, 2]),
    ],
)
def test_when_queries_are_made(
    options: dict[str, float], recalls: list[float], expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Plain, "current_epoch", 0)
    assert queries(recalls, **options) == expected


def test_a_continued_run_makes_the_same_queries(tmp_path: Any) -> None:
    straight, stopped, continued = (curriculum(anchors=0.2) for _ in range(3))
    fit(straight, 4)
    fit(stopped, 2)
    stopped.trainer.save_checkpoint(tmp_path / "2.ckpt")
    fit(continued, 4, tmp_path / "2.ckpt")
    for name, value in straight.state_dict().items():
        assert torch.equal(value, continued.state_dict()[name]), name


def test_two_ranks_take_the_same_images_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    ranks = TwoRanks(monkeypatch)
    monkeypatch.setattr("ltmed.utils.distributed.gather_uneven", lambda tensor: ranks._gather(tensor))
    scores, numbers = torch.rand(N + 1, generator=torch.Generator().manual_seed(0)), torch.tensor([7, 3, 1])
    places, labels = torch.arange(N), torch.from_numpy(LABELS)
    stages = [curriculum() for _ in range(3)]
    for stage in stages:
        stage.in_use.fill_(False)[::3] = True
    stages[2]._add_images(places, labels, scores[:-1], numbers)

    def of_rank(rank: int) -> None:
        # An even number each, since the stand-in gathers equal parts; one place is there twice and taken once.
        mine = torch.cat([places, places[:1]])[rank::2]
        stages[rank]._add_images(mine, labels[mine], scores[mine], numbers)

    ranks.run(of_rank)
    assert torch.equal(stages[0].in_use, stages[1].in_use)
    assert torch.equal(stages[0].in_use, stages[2].in_use)


def test_the_loss_gets_the_counts_of_the_images_in_use() -> None:
    stage, observed = curriculum(anchors=0.2, loss=partial(logit_adjusted, tau=1.0)), []
    original = stage.loss
    stage.loss = lambda logits, labels, counts: (observed.append(counts.tolist()), original(logits, labels, counts))[1]
    fit(stage, 1)
    assert observed[0] == [8, 8, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"anchors": 0.0}, r"module\.anchors"), ({"query": 1.5}, r"module\.query"), ({"draws": 1}, r"module\.draws"),
        ({"warmup": -0.1}, r"module\.warmup"),
    ],
)  # fmt: skip
def test_wrong_options_are_user_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        curriculum(**options)


@pytest.mark.parametrize("classifier", [Linear, partial(DropoutLinear, p=0.0)])
def test_a_classifier_without_dropout_is_refused(classifier: Any) -> None:
    with pytest.raises(UserError, match="dropout"):
        Curriculum(Network(Encoder(), classifier, K), context(), loss=cross_entropy)


def test_without_pretraining_and_with_another_loss_and_sampler(
    tiny: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    texts = ["method=flexible_sampling", "~method.stages.pretrain", "sampler=class_balanced", "loss=cb_focal"]
    run = ltmed.train([*tiny, *texts, *QUICK["flexible_sampling"], "epochs=3"])
    assert "pretrain 1/3" not in capsys.readouterr().out
    curves = pd.read_csv(run.path / "metrics.csv")
    images = curves[curves["name"] == "curriculum/train/images"]["value"].tolist()
    assert len(images) == 3
    assert images == sorted(set(images)), "every query adds images"
