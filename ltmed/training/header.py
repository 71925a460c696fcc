"""What a run says before it trains: what it is, on which images and devices, in how many steps, and where."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ltmed.config.instantiate import build
from ltmed.utils.seeding import derive

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from ltmed.data.datamodule import DataModule
    from ltmed.runs.job import Job


def opening(job: Job) -> str:
    """What the job alone says; quick, since nothing has to be imported or read for it."""
    name = job.name
    return _lines(
        run=f"{name.method} on {name.dataset}, fold {name.fold}, seed {name.seed}, "
        f"precision {job.cfg.trainer.precision}",
        folder=str(job.run_dir),
    )


def details(cfg: DictConfig, data: DataModule, accelerator: str, devices: int) -> str:
    """What is known once the label files have been read and the devices counted.

    Args:
        cfg: of the run.
        data: before it is opened: images that cannot be decoded still count.
        accelerator: "cpu" or "gpu".
        devices: processes on this machine.
    """
    parts = ", ".join(f"{name} {len(rows):,}" for name, rows in data.split.parts.items())
    imbalance = data.counts.max() / data.counts.min()
    return _lines(
        images=f"{parts}; {len(data.counts)} classes, imbalance {imbalance:.0f} : 1, split {data.split.name}, "
        f"{data.image_size} pixels",
        device=_device(accelerator, devices * cfg.trainer.num_nodes),
        steps="; ".join(_steps(cfg, data)),
    )


def _device(accelerator: str, processes: int) -> str:
    import torch

    kind = torch.cuda.get_device_name(0) if accelerator == "gpu" else "CPU"
    many = f"{processes} processes, one {kind} each" if processes > 1 else kind
    return many if accelerator == "gpu" else f"{many}, {_count(torch.get_num_threads(), 'thread')}"


def _steps(cfg: DictConfig, data: DataModule) -> list[str]:
    """Epochs, steps and batch size of every stage."""
    labels = data.manifest.labels[data.split.train]
    found = []
    for name, recipe in cfg.method.stages.items():
        sampler = build(recipe.sampler)(
            labels=labels, batch_size=recipe.batch_size, epochs=recipe.epochs, seed=derive(cfg.seed, name)
        )
        views = " in 2 views" if recipe.views == 2 else ""
        steps = f"{_count(recipe.epochs, 'epoch')} of {_count(sampler.steps, 'step')}"
        found.append(f"{name} {steps} of {sampler.batch_size} images{views}")
    return found


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'s' * (number != 1)}"


def _lines(**texts: str) -> str:
    return "\n".join(f"{title:<8}{text}" for title, text in texts.items())
