"""B6: the kernels of LMD beside the straightforward forms.

Those are a factorisation per sample and class, features that are all drawn before they are loaded, D x D matrices of
channels, and an average parameter by parameter.
"""

from __future__ import annotations

import statistics
import time

import numpy as np
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from ltmed.losses import lmd
from ltmed.nn.statistics import ClassMoments, ClassStatistics
from ltmed.nn.teacher import EmaTeacher
from ltmed.nn.virtual import virtual_batches
from tests.bench.timing import Work, compare, extra_memory, in_a_fresh_process, loss_and_gradients

CLASSES, WIDTH, BATCH = 8, 512, 128
PER_CLASS, M_BATCH = 50_000, 352


def fixed_statistics(classes: int) -> ClassStatistics:
    """Class statistics of `classes` random normal distributions."""
    made = ClassStatistics(classes, WIDTH)
    roots = torch.randn(classes, WIDTH, WIDTH, dtype=torch.float64) / WIDTH**0.5
    present, means = torch.ones(classes, dtype=torch.bool), torch.randn(classes, WIDTH, dtype=torch.float64)
    made.update(ClassMoments(present, means, roots @ roots.mT), momentum=0.0)
    return made


def factor_for_each(features: Tensor, labels: Tensor, statistics: ClassStatistics) -> Tensor:
    """Psi - Phi with one Cholesky factorisation and one triangular solve for each image and class."""
    total = features.new_zeros(())
    for x, y in zip(features, labels.tolist(), strict=True):
        for k in range(len(statistics.means)):
            factor = torch.linalg.cholesky(statistics.covariances[k])
            white = torch.linalg.solve_triangular(factor, (x - statistics.means[k])[:, None], upper=False)
            total = total + white.square().sum() * (1 if k == y else -1 / (len(statistics.means) - 1))
    return total / len(features)


def consistency(known: ClassStatistics) -> tuple[Work, Tensor, Tensor]:
    """Our forward and backward pass, and the features and labels that it is made for."""
    features, labels = torch.randn(BATCH, WIDTH).requires_grad_(), torch.arange(BATCH) % CLASSES
    whitening = known.whitening(known.factors())

    def loss(x: Tensor) -> Tensor:
        return lmd.distribution_consistency(lmd.mahalanobis(x, *whitening), labels)

    return loss_and_gradients(loss, [features]), features, labels


def consistency_memory() -> float:
    """Extra memory of it, in MiB."""
    return extra_memory(consistency(fixed_statistics(CLASSES))[0])


def distribution(rounds: int) -> None:
    """Feature-distribution consistency, forward and backward."""
    known = fixed_statistics(CLASSES)
    work, features, labels = consistency(known)
    started = time.perf_counter()
    known.whitening(known.factors())
    once = time.perf_counter() - started
    reference = loss_and_gradients(lambda x: factor_for_each(x, labels, known), [features])
    compare(f"FDC, K {CLASSES} D {WIDTH} B {BATCH}", work, reference, min(rounds, 3), 100, (50, 1))
    memory = in_a_fresh_process(consistency_memory)
    print(f"   once per iteration: {1e3 * once:.0f} ms of factors; extra memory {memory:.0f} MiB (goal <= 100)")


def channel_matrices(student: Tensor, teacher: Tensor) -> Tensor:
    """L_channel with the D x D matrices."""
    actual, reference = (F.normalize(z.T @ z, dim=1) for z in (student, teacher))
    return (actual - reference).square().sum() / student.shape[1]


def channels(rounds: int) -> None:
    """The channel relation, forward and backward."""
    inputs = [torch.rand(BATCH, 2048).requires_grad_(), torch.rand(BATCH, 2048)]
    actual, reference = loss_and_gradients(lmd.channel_relation, inputs), loss_and_gradients(channel_matrices, inputs)
    compare(f"channel relation, N {BATCH} D 2048", actual, reference, rounds, 4, (10, 5))


def average_each(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """A moving average as it is usually written."""
    for slow, fast in zip(teacher.parameters(), student.parameters(), strict=True):
        slow.data = slow.data * momentum + fast.data * (1 - momentum)


def average(rounds: int) -> None:
    """One update of the teacher of a ResNet-18."""
    student = timm.create_model("resnet18", num_classes=0)
    teachers = [EmaTeacher(timm.create_model("resnet18", num_classes=0), training=True) for _ in range(2)]
    teachers[1].load_state_dict(teachers[0].state_dict())

    def ours() -> list[Tensor]:
        teachers[0].update(student, momentum=0.999)
        return []

    def theirs() -> list[Tensor]:
        average_each(teachers[1].copies[0], student, 0.999)
        for slow, fast in zip(teachers[1].buffers(), student.buffers(), strict=True):
            slow.data = fast.data.clone()
        return []

    compare("moving average, ResNet-18", ours, theirs, rounds, 2)
    pairs = zip(*(teacher.parameters() for teacher in teachers), strict=True)
    print(f"   largest difference of weights {max(float((a - b).abs().max()) for a, b in pairs):.1e}")


def m_step_streamed(known: ClassStatistics, per_class: int) -> tuple[Tensor, Tensor]:
    """One pass of the classifier over streamed features; also the mean feature and mean square of all."""
    classifier, sums = nn.Linear(WIDTH, len(known.means)), torch.zeros(2, WIDTH)
    optimizer = torch.optim.SGD(classifier.parameters(), 1e-5, momentum=0.9, weight_decay=1e-4)
    generator = torch.Generator().manual_seed(0)
    for x, y in virtual_batches(known.means, known.factors(), per_class, M_BATCH, generator):
        _learn(classifier, optimizer, x, y, sums)
    return (sums / (per_class * len(known.means))).unbind()


def m_step_stored(known: ClassStatistics, per_class: int) -> tuple[Tensor, Tensor]:
    """The same with NumPy's multivariate normal, all features in one array, and a loader."""
    classifier, sums = nn.Linear(WIDTH, len(known.means)), torch.zeros(2, WIDTH)
    optimizer = torch.optim.SGD(classifier.parameters(), 1e-5, momentum=0.9, weight_decay=1e-4)
    rng = np.random.default_rng(0)
    sampled = [
        rng.multivariate_normal(mean, covariance, per_class)
        for mean, covariance in zip(known.means.numpy(), known.covariances.numpy(), strict=True)
    ]
    features = torch.from_numpy(np.concatenate(sampled).astype(np.float32))
    del sampled
    data = TensorDataset(features, torch.arange(len(known.means)).repeat_interleave(per_class))
    for x, y in DataLoader(data, M_BATCH, shuffle=True):
        _learn(classifier, optimizer, x, y, sums)
    return (sums / len(features)).unbind()


def _learn(classifier: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, sums: Tensor) -> None:
    sums[0] += x.sum(0)
    sums[1] += x.square().sum(0)
    optimizer.zero_grad()
    F.cross_entropy(classifier(x), y).backward()
    optimizer.step()


def m_step(rounds: int) -> None:
    """Virtual features and one pass of the classifier over them."""
    known, actual, times = fixed_statistics(CLASSES), {}, []
    for _ in range(max(1, rounds // 3)):
        row = []
        for work in (m_step_stored, m_step_streamed):
            started = time.perf_counter()
            actual[work] = work(known, PER_CLASS)
            row.append(time.perf_counter() - started)
        times.append(row)
    ratio = statistics.median(slow / fast for slow, fast in times)
    slow, fast = (statistics.median(column) for column in zip(*times, strict=True))
    # Both means are sums of the same number of draws: their difference in units of its standard error.
    spread = (known.covariances.diagonal(dim1=1, dim2=2).mean(0) * 2 / (PER_CLASS * CLASSES)).sqrt()
    apart = float(((actual[m_step_stored][0] - actual[m_step_streamed][0]) / spread).square().mean().sqrt())
    squares = float((actual[m_step_stored][1] / actual[m_step_streamed][1] - 1).abs().max())
    print(
        f"B6 virtual features and M step, {CLASSES} x {PER_CLASS} x {WIDTH}: ours {fast:.1f} s, stored {slow:.1f} s, "
        f"ratio {ratio:.2f} (goal >= 4 {'met' if ratio >= 4 else 'MISSED'}); means apart by {apart:.2f} standard "
        f"errors (about 1), mean squares by {100 * squares:.2f} %",
        flush=True,
    )
    for classes in (CLASSES, 23):
        memory = in_a_fresh_process(m_step_memory, classes)
        print(f"   extra memory with K {classes}: {memory:.0f} MiB (goal <= 200)")


def m_step_memory(classes: int) -> float:
    """Extra memory of the streamed M step, in MiB."""
    known = fixed_statistics(classes)
    return extra_memory(lambda: m_step_streamed(known, PER_CLASS // 5))


def main(rounds: int = 5) -> None:
    """Prints all of them."""
    torch.manual_seed(0)
    distribution(rounds)
    channels(rounds)
    average(rounds)
    m_step(rounds)


if __name__ == "__main__":
    main()
