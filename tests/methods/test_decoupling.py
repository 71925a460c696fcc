"""The second stages of decoupling: what they train, what they find, one and two processes, messages."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from sklearn.metrics import balanced_accuracy_score
from torch import nn

from ltmed.data.batch import Batch
from ltmed.errors import UserError
from ltmed.methods.decoupling import NearestMeans, Normalise, Rescale, Retrain
from ltmed.nn.adjusted import TauNormalised
from ltmed.nn.decoupled import NearestMean, ScaledLinear
from ltmed.nn.heads import EmbeddedLinear, Linear, PrototypeHead
from ltmed.nn.network import Network
from ltmed.training import feature_pass, tau_search
from tests.harness import ROOT
from tests.methods.small import Encoder, K, batch, context, updated
from tests.methods.small_decoupling import Data, features, fit, make, trainer_for
from tests.methods.two_ranks import TwoRanks, half
from tests.no_reading import NoReading

STAGES: list[Any] = [
    (Retrain, Linear, {"weight", "bias"}),
    (Retrain, partial(EmbeddedLinear, width=5), {"linear.weight", "linear.bias"}),
    (Rescale, ScaledLinear, {"scales"}),
    (Normalise, TauNormalised, {"linear.bias", "tau"}),
    (NearestMeans, NearestMean, {"centre", "means", "is_set"}),
]
PRESETS = ("decoupling", "decoupling_lws", "decoupling_tau", "decoupling_ncm")
GRID = np.linspace(0, 2, 21)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("kind", "head", "changed"), STAGES)
def test_the_encoder_keeps_weights_and_statistics_and_the_head_changes_where_it_should(
    kind: Any, head: Any, changed: set[str]
) -> None:
    made = make(lambda network, told: network, head)
    before = copy.deepcopy(made.state_dict())
    stage = fit(make(kind, head), epochs=2)
    for name, value in stage.network.state_dict().items():
        assert torch.equal(value, before[name]) == (name.removeprefix("classifier.") not in changed), name
    assert stage.training
    assert not any(module.training for module in stage.network.encoder.modules())


@pytest.mark.parametrize(("kind", "head", "changed"), STAGES[:3])
def test_trains_what_it_should_and_reads_nothing_back(kind: Any, head: Any, changed: set[str]) -> None:
    stage = make(kind, head).train()
    updated(stage, batch())
    expected = {name for name, parameter in stage.named_parameters() if parameter.requires_grad}
    assert expected == {f"network.classifier.{name}" for name in changed}
    with NoReading():
        stage.training_step(batch(), 0).backward()
    with torch.autocast("cpu", torch.bfloat16):
        assert stage.training_step(batch(), 0).dtype == torch.float32


@pytest.mark.filterwarnings("ignore")
def test_crt_is_logistic_regression_on_frozen_features_from_new_weights() -> None:
    data = Data(size=28)
    stage = make(Retrain, Linear)
    new = copy.deepcopy(stage.network.classifier).double()
    fit(stage, data=data)
    F.cross_entropy(new(features(stage, data.train_part)), data.train_part.labels).backward()
    for actual, start in zip(stage.network.classifier.parameters(), new.parameters(), strict=True):
        assert start.grad is not None
        torch.testing.assert_close(actual.double(), start - 0.1 * start.grad, rtol=1e-4, atol=1e-6)
    torch.manual_seed(0)
    untouched = Network(Encoder(), Linear, K).classifier
    assert not torch.equal(new.weight.float(), untouched.weight)  # pyright: ignore


# --- tau ------------------------------------------------------------------------------------------------------


def with_fitted_weights(stage: Normalise, whole: Batch) -> Normalise:
    """Least squares on the training images, with norms that suit no end of the grid."""
    head = stage.network.classifier
    assert isinstance(head, TauNormalised)
    targets = F.one_hot(whole.labels, K).double()
    weights = F.normalize(torch.linalg.lstsq(features(stage, whole), targets).solution.T, dim=1)
    with torch.no_grad():
        head.linear.weight.copy_(torch.tensor([[2.0], [0.5], [6.0]]) * weights)
    return stage


def tau_scores(stage: Normalise, whole: Batch) -> list[float]:
    head = stage.network.classifier
    assert isinstance(head, TauNormalised)
    h, w = features(stage, whole).numpy(), head.linear.weight.detach().double().numpy()
    powers = [w / np.linalg.norm(w, axis=1, keepdims=True) ** tau for tau in GRID]
    return [float(balanced_accuracy_score(whole.labels, (h @ power.T).argmax(1))) for power in powers]


@pytest.mark.filterwarnings("ignore")
def test_tau_is_the_best_on_validation_images_and_the_metrics_are_those_with_it() -> None:
    data = Data()
    stage = with_fitted_weights(make(Normalise, TauNormalised), data.train_part)
    trainer = trainer_for(2)
    trainer.fit(stage, datamodule=data)
    scores = tau_scores(stage, data.val_part)
    assert max(scores) > max(scores[0], scores[-1]), "a search with nothing to find"
    head = stage.network.classifier
    assert isinstance(head, TauNormalised)
    assert head.tau.item() == pytest.approx(GRID[int(np.argmax(scores))])
    assert float(trainer.callback_metrics["train/val/balanced_accuracy"]) == pytest.approx(max(scores))
    probabilities = stage.eval()(stage.on_after_batch_transfer(data.val_part, 0).images).softmax(1)
    torch.testing.assert_close(stage.evaluations["val"].probabilities, probabilities)


@pytest.mark.filterwarnings("ignore")
def test_tau_is_not_chosen_by_validate_or_test() -> None:
    stage = fit(make(Normalise, TauNormalised))
    head = stage.network.classifier
    assert isinstance(head, TauNormalised)
    for tau in (0.0, 2.0):
        head.tau.fill_(tau)
        for run, split in (("validate", "val"), ("test", "test")):
            data = Data()
            getattr(trainer_for(1), run)(stage, datamodule=data, verbose=False)
            assert head.tau.item() == tau
            images = stage.on_after_batch_transfer(getattr(data, f"{split}_part"), 0).images
            expected = stage.eval()(images).softmax(1)
            torch.testing.assert_close(stage.evaluations[split].probabilities, expected)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(5))
def test_best_tau_is_scikit_learns_also_with_ties_an_absent_class_and_extreme_logits(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    head = TauNormalised(6, 4)
    with torch.no_grad():
        head.linear.weight.mul_(torch.tensor([[9.0], [3.0], [1.0], [0.2]]))
    logits = torch.randn(50, 4, generator=generator) * (1e4 if seed == 4 else 1) * torch.tensor([9.0, 3.0, 1.0, 0.2])
    labels = torch.randint(3 if seed == 3 else 4, (50,), generator=generator)
    labels[labels == 2] = 1  # Absent.
    labels[0] = 2 if seed else 0  # One image.
    norms = head.linear.weight.detach().norm(dim=1)
    scores = []
    for tau in GRID:
        predicted = (logits / norms ** torch.tensor(tau, dtype=torch.float32)).argmax(1)
        scores.append(balanced_accuracy_score(labels, predicted))
        assert tau_search.balanced_accuracy(predicted, labels, 4).item() == pytest.approx(scores[-1])
    tau_search.set_best_tau(head, logits, labels)
    assert head.tau.item() == pytest.approx(GRID[int(np.argmax(np.round(scores, 12)))])
    tau_search.set_best_tau(head, torch.zeros(50, 4), labels)
    assert head.tau.item() == 0, "of equal ones, the smallest"


def test_two_ranks_choose_the_tau_of_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tau_search, "is_fitted", lambda stage: True)
    data, ranks = Data().val_part, TwoRanks(monkeypatch)
    one, *two = (make(Normalise, TauNormalised).eval() for _ in range(3))

    def choose(stage: Normalise, whole: Batch) -> float:
        head = stage.network.classifier
        assert isinstance(head, TauNormalised)
        outputs = [(stage(stage.on_after_batch_transfer(whole, 0).images), whole.labels, whole.indices)]
        tau_search.begin(stage, head)
        (actual,) = tau_search.choose(stage, head, outputs)
        torch.testing.assert_close(actual[0], head.adjust(outputs[0][0]))
        return head.tau.item()

    expected = choose(one, data)
    assert expected > 0
    assert ranks.run(lambda rank: choose(two[rank], half(data, rank))) == [expected, expected]


# --- nearest mean ---------------------------------------------------------------------------------------------


def slow_ncm(train: np.ndarray, labels: np.ndarray, query: np.ndarray, centred: bool, metric: str) -> list[int]:
    middle = sum(train) / len(train) if centred else np.zeros(train.shape[1])
    means = []
    for label in range(K):
        mine = [
            (row - middle) / np.linalg.norm(row - middle) for row, y in zip(train, labels, strict=True) if y == label
        ]
        means.append(sum(mine) / len(mine))
    predicted = []
    for row in query:
        x = (row - middle) / np.linalg.norm(row - middle)
        if metric == "euclidean":
            predicted.append(int(np.argmin([np.linalg.norm(x - mean) for mean in means])))
        else:
            predicted.append(int(np.argmax([x @ mean / np.linalg.norm(mean) for mean in means])))
    return predicted


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_ncm_predicts_as_a_slow_loop(metric: str, centred: bool) -> None:
    data = Data()

    def head(features: int, classes: int) -> nn.Module:
        return NearestMean(features, classes, metric=metric, centred=centred)  # pyright: ignore[reportArgumentType]

    stage = fit(make(NearestMeans, head), data=data)
    train, query = features(stage, data.train_part).numpy(), features(stage, data.val_part).numpy()
    expected = slow_ncm(train, data.train_part.labels.numpy(), query, centred, metric)
    assert stage.evaluations["val"].probabilities.argmax(1).tolist() == expected
    assert len(set(expected)) > 1


def test_two_ranks_have_the_means_of_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    data, ranks = Data().train_part, TwoRanks(monkeypatch)
    one, *two = (make(NearestMeans, NearestMean).eval() for _ in range(3))

    def over(stage: NearestMeans) -> list[Batch]:
        mine = half(data, ranks.local.rank) if hasattr(ranks.local, "rank") else data
        return [stage.on_after_batch_transfer(mine, 0)]

    monkeypatch.setattr(feature_pass, "over_training_part", over)
    one._set_means()
    ranks.run(lambda rank: two[rank]._set_means())
    for stage in two:
        for name, value in one.network.classifier.state_dict().items():
            torch.testing.assert_close(stage.network.classifier.state_dict()[name], value, msg=name)
    assert not torch.equal(one.network.classifier.means[0], one.network.classifier.means[1])  # pyright: ignore


# --- configs and messages -------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", PRESETS)
def test_represents_as_erm_does_and_then_classifies(preset: str) -> None:
    with initialize_config_dir(str(ROOT / "conf"), version_base=None):
        mine, erm = (compose("config", [f"method={name}"]) for name in (preset, "erm"))
    assert list(mine.method.stages) == ["represent", "classify"]
    recipes = (mine.method.stages.represent, erm.method.stages.train)
    one, other = (OmegaConf.to_container(recipe, resolve=False) for recipe in recipes)
    assert one == other
    assert mine.sampler == erm.sampler
    assert mine.method.stages.classify.sampler.q == 0


@pytest.mark.parametrize(
    ("kind", "head"), [(Rescale, "ScaledLinear"), (Normalise, "TauNorm"), (NearestMeans, "Nearest")]
)
def test_another_head_is_a_user_error(kind: Any, head: str) -> None:
    with pytest.raises(UserError, match=rf"{head}.*method\.network"):
        kind(Network(Encoder(), Linear, K), context())
    with pytest.raises(UserError, match="PrototypeHead cannot"):
        Retrain(Network(Encoder(), PrototypeHead, K), context())
