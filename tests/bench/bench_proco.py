"""B6: the loss of ProCo (Eq. 1-3 and 7), forward and backward, beside a loop over classes and one over samples."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ltmed.losses import proco
from tests.bench.timing import compare, loss_and_gradients

BATCH, SLOTS, CLASSES, WIDTH, GAMMA, MIX = 128, 1024, 7, 128, 20, 0.4


def _inputs() -> tuple[list[Tensor], dict[str, Tensor]]:
    """What gets a gradient: queries, logits, prototypes; and the rest. Classes as frequent as in HAM10000.

    One e for all negatives of a query: the order in which the nearest are found is then of no account.
    """
    frequencies = torch.tensor([0.111, 0.67, 0.051, 0.033, 0.11, 0.011, 0.014])
    queries = F.normalize(torch.randn(BATCH, WIDTH), dim=1).requires_grad_()
    expected = [queries, torch.randn(BATCH, CLASSES).requires_grad_(), torch.randn(CLASSES, WIDTH).requires_grad_()]
    fixed = {
        "labels": torch.multinomial(frequencies, BATCH, True), "keys": F.normalize(torch.randn(SLOTS, WIDTH), dim=1),
        "key_labels": torch.multinomial(frequencies, SLOTS, True), "predicted": torch.randint(CLASSES, (SLOTS,)),
        "negative_mix": MIX * torch.rand(BATCH, 1).expand(-1, GAMMA), "positive_mix": MIX * torch.rand(SLOTS),
    }  # fmt: skip
    return expected, fixed


def ours(queries: Tensor, logits: Tensor, prototypes: Tensor, fixed: dict[str, Tensor]) -> Tensor:
    """All queries and classes at once."""
    labels, keys = fixed["labels"], fixed["keys"]
    negatives, positives = proco.contrast_queue(queries, labels, keys, fixed["key_labels"])
    harder = proco.adversarial_negatives(queries, labels, keys, negatives, prototypes, fixed["negative_mix"])
    taken_for, wrong = prototypes[fixed["predicted"]], fixed["predicted"] != fixed["key_labels"]
    easier = proco.adversarial_positives(queries, keys, wrong, positives, taken_for, fixed["positive_mix"])
    return proco.proto_loss(logits, labels, [negatives, harder], [positives, easier])


def by_class(queries: Tensor, logits: Tensor, prototypes: Tensor, fixed: dict[str, Tensor]) -> Tensor:
    """A loop over the classes of the batch, whose queries share Q+ and Q-."""
    total = logits.new_zeros(())
    for label in fixed["labels"].unique().tolist():
        mine, same = (fixed["labels"] == label).nonzero()[:, 0], fixed["key_labels"] == label
        total = total + _terms(queries[mine], logits[mine], mine, label, same, prototypes, fixed).sum()
    return total / len(queries)


def by_sample(queries: Tensor, logits: Tensor, prototypes: Tensor, fixed: dict[str, Tensor]) -> Tensor:
    """A loop over the queries."""
    total = logits.new_zeros(())
    for index, label in enumerate(fixed["labels"].tolist()):
        mine, same = torch.tensor([index]), fixed["key_labels"] == label
        total = total + _terms(queries[mine], logits[mine], mine, label, same, prototypes, fixed).sum()
    return total / len(queries)


def _terms(
    q: Tensor, logits: Tensor, mine: Tensor, label: int, same: Tensor, prototypes: Tensor, fixed: dict[str, Tensor]
) -> Tensor:
    """Eq. 7 of queries of one class."""
    others, own = fixed["keys"][~same], fixed["keys"][same]
    nearest = (1 - q.detach() @ others.T).topk(min(GAMMA, len(others)), 1, largest=False, sorted=False).indices
    mix = fixed["negative_mix"][mine][:, : nearest.shape[1], None]
    hard = F.normalize((1 - mix) * others[nearest] + mix * prototypes[label], dim=2, eps=1e-6)
    wrong = fixed["predicted"][same] != label
    mix = fixed["positive_mix"][same][wrong][:, None]
    confused = F.normalize((1 - mix) * own[wrong] + mix * prototypes[fixed["predicted"][same][wrong]], dim=1, eps=1e-6)
    negative = torch.cat([q @ others.T, (q[:, None] * hard).sum(2)], 1)
    positive = -torch.cat([q @ own.T, q @ confused.T], 1)
    rest = torch.cat([logits[:, :label], logits[:, label + 1 :]], 1)
    negative = negative.logsumexp(1) - torch.tensor(float(negative.shape[1])).log()
    positive = positive.logsumexp(1) - torch.tensor(float(max(positive.shape[1], 1))).log()
    return F.softplus(torch.logaddexp(negative, rest.logsumexp(1)) + torch.logaddexp(positive, -logits[:, label]))


def main(rounds: int = 5) -> None:
    """Prints both ratios."""
    torch.manual_seed(0)
    expected, fixed = _inputs()
    work = loss_and_gradients(lambda *inputs: ours(*inputs, fixed), expected)
    for reference, name, goal, repeat in ((by_class, "per class", 1.3, 10), (by_sample, "per sample", 20, 1)):
        theirs = loss_and_gradients(lambda *inputs, form=reference: form(*inputs, fixed), expected)
        compare(f"ProCo, B {BATCH} M {SLOTS} K {CLASSES}, loop {name}", work, theirs, rounds, goal, (10, repeat))


if __name__ == "__main__":
    main()
