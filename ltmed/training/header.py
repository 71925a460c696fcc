"""The header that a run prints before it trains: name, folder, images, devices and steps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ltmed.config.instantiate import build
from ltmed.runs.record import METRICS
from ltmed.utils.processes import is_first_process
from ltmed.utils.seeding import derive

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from ltmed.data.datamodule import DataModule


def announce(cfg: DictConfig, dataset: str, run_dir: Path) -> None:
    """Prints the name and folder of an unfinished run, which the configuration alone determines, on the first rank.

    It is called before anything slow, so that output appears at once: torch takes seconds to import.

    Args:
        cfg: not checked yet.
        dataset: the choice of that group.
        run_dir: the run's folder.
    """
    if not is_first_process() or (run_dir / METRICS).exists():
        return
    title = f"{cfg.method.name} on {dataset}, fold {cfg.fold}, seed {cfg.seed}"
    print(_lines(run=title, folder=str(run_dir)), flush=True)


def announce_details(cfg: DictConfig, data: DataModule, accelerator: str, devices: int) -> None:
    """Prints images, device and steps, once label files have been read and devices counted, on the first rank.

    Args:
        cfg: of the run, with its precision resolved.
        data: before it is opened: images that cannot be decoded still count.
        accelerator: "cpu" or "gpu".
        devices: processes on this machine.
    """
    if not is_first_process():
        return
    parts = ", ".join(f"{name} {len(rows):,}" for name, rows in data.split.parts.items())
    # A label without a positive is left out of everything, and named in a warning.
    imbalance = data.counts.max() / data.counts[data.counts > 0].min()
    kinds = "labels" if data.multilabel else "classes"
    lines = _lines(
        images=f"{parts}; {len(data.counts)} {kinds}, imbalance {imbalance:.0f} : 1, split {data.split.name}, "
        f"{data.image_size} pixels",
        device=f"{_device(accelerator, devices * cfg.trainer.num_nodes)}, precision {cfg.trainer.precision}",
        steps="; ".join(_steps(cfg.method.stages, cfg.seed, data)),
    )
    print(lines, flush=True)


def _device(accelerator: str, processes: int) -> str:
    import torch

    kind = torch.cuda.get_device_name(0) if accelerator == "gpu" else "CPU"
    devices = f"{processes} processes, one {kind} each" if processes > 1 else kind
    return devices if accelerator == "gpu" else f"{devices}, {_count(torch.get_num_threads(), 'thread')}"


def _steps(stages: DictConfig, seed: int, data: DataModule) -> list[str]:
    """Epochs, steps and batch size of every stage."""
    labels = data.manifest.labels[data.split.train]
    lines = []
    for name, recipe in stages.items():
        sampler = build(recipe.sampler)(
            labels=labels, batch_size=recipe.batch_size, epochs=recipe.epochs, seed=derive(seed, str(name))
        )
        views = " in 2 views" if recipe.views == 2 else ""
        steps = f"{_count(recipe.epochs, 'epoch')} of {_count(sampler.steps, 'step')}"
        lines.append(f"{name} {steps} of {sampler.batch_size} images{views}")
    return lines


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'s' * (number != 1)}"


def _lines(**texts: str) -> str:
    return "\n".join(f"{title:<8}{text}" for title, text in texts.items())
