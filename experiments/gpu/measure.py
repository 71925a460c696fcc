"""Runs that are stopped or timed, and the order of a study's rows: `python measure.py stopped|speed|rows OVERRIDES`.

Parts of run.py beside this file, each in a process of its own.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Sequence


def stopped(words: list[str]) -> None:
    """A run that gets SIGTERM at the first step of the second epoch of its first stage."""
    from ltmed.training.callbacks.recorders import Durations

    def stop(callback: object, trainer: object, module: object, batch: object, batch_idx: int) -> None:
        if module.current_epoch == 1 and batch_idx == 0:  # pyright: ignore
            os.kill(os.getpid(), signal.SIGTERM)

    Durations.on_train_batch_start = stop  # pyright: ignore
    _command(words)


def measured(words: list[str]) -> None:
    """Prints images a second of the last epoch, from its second step on, and of the bare loop on its last batch."""
    import torch

    from ltmed.training.callbacks.recorders import Durations

    clock: dict[str, float] = {}

    def now() -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter()

    def step_ended(callback, trainer, module, outputs, batch, batch_idx) -> None:
        if module.current_epoch != trainer.max_epochs - 1:
            return
        if batch_idx == 0:
            clock["begun"] = now()
        elif trainer.is_last_batch:
            ours = batch_idx * len(batch.images) / (now() - clock["begun"])
            bare = _bare(trainer, module, batch, batch_idx, now)
            print(f"RESULT: {json.dumps(_rates(ours, bare, batch))}", flush=True)

    Durations.on_train_batch_end = step_ended  # pyright: ignore
    _command(words)


def _bare(trainer, module, batch, number: int, now) -> float:
    """Images a second of the same step in a loop without loader, trainer, log and callbacks."""
    (optimizer,) = trainer.optimizers
    module.__dict__["log"] = module.__dict__["log_dict"] = lambda *_, **__: None

    def step() -> None:
        with trainer.precision_plugin.forward_context():
            loss = module.training_step(batch, 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    step()
    begun = now()
    for _ in range(number):
        step()
    rate = number * len(batch.images) / (now() - begun)
    del module.__dict__["log"], module.__dict__["log_dict"]
    return rate


def _rates(ours: float, bare: float, batch) -> dict[str, float]:
    views = 1 if batch.views is None else 2
    return {"images_per_s": round(ours, 1), "bare": round(bare, 1), "ratio": round(ours / bare, 3), "views": views}


def rows(words: list[str]) -> None:
    """Prints the rows of a study, those with fewest epochs times views first."""
    from ltmed.config.compose import compose
    from ltmed.studies import catalogue
    from ltmed.studies.filters import StudyFilters

    name, further = catalogue.split_study(words)
    assert name is not None
    filters = StudyFilters(further)
    cost: dict[str, int] = {}
    for cell in filters.select(catalogue.load(name, filters.scale)).cells(filters.further):
        cfg = compose(cell.overrides)
        given = cfg.epochs if not isinstance(cfg.epochs, int) else dict.fromkeys(cfg.method.stages, cfg.epochs)
        cost[cell.row] = sum(
            (given or {}).get(stage, recipe.epochs) * recipe.views for stage, recipe in cfg.method.stages.items()
        )
    for row in sorted(cost, key=lambda row: cost[row]):
        print(f"ROW: {row}")


def _command(words: Sequence[str]) -> None:
    from ltmed.cli import train

    train.main(list(words))


if __name__ == "__main__":
    {"stopped": stopped, "speed": measured, "rows": rows}[sys.argv[1]](sys.argv[2:])
