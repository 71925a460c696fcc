"""The whole flow of one run: data, network, one fit per stage, one test, results. Resumes wherever it was stopped."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from ltmed.config.instantiate import build, build_network
from ltmed.config.resolve import to_plain
from ltmed.logging.console import print_summary
from ltmed.runs import facts, record
from ltmed.runs.dataset import open_dataset
from ltmed.runs.lock import claimed
from ltmed.training import launcher
from ltmed.utils.processes import is_first_process
from ltmed.utils.seeding import derive

if TYPE_CHECKING:
    from ltmed.data.datamodule import DataModule
    from ltmed.nn.network import Network
    from ltmed.runs.job import Job
    from ltmed.training.stage import Stage


def train(job: Job) -> float:
    """Runs a job in its folder, continues it if it was stopped, or only reports it if it is done.

    While another job trains there it waits, and then goes on from what that one left.

    Args:
        job: from `ltmed.runs.job.plan`; its configuration is read-only.

    Returns:
        the validation value of `cfg.monitor` at the chosen checkpoint, for sweepers; never a test figure. NaN on
        ranks other than the first, which have no results.

    Raises:
        UserError: anything in the config, the data or the machine that the user has to correct.
    """
    cfg, run_dir = job.cfg, job.run_dir
    with claimed(run_dir, cfg):
        facts.begin(job)
        finished = record.read(run_dir)
        if not finished or facts.read(run_dir)["split"]["root"] != cfg.dataset.root:
            # Refuses a root with other data: a finished run has to speak for this one.
            data = open_dataset(cfg, run_dir)
            if not finished:
                _say_if_equal(job, data.digest)
                accelerator, devices = launcher.count_devices(
                    cfg.trainer.accelerator, cfg.trainer.devices, cfg.trainer.num_nodes
                )
                data.open()  # Decode once, before there are ranks.
                facts.add(run_dir, pixels=data.pixels)
                with launcher.ranks(job.to_json(), devices):
                    finished = _fit_and_test(job, data, accelerator, devices)
    if not is_first_process():
        return float("nan")
    print_summary(finished)
    print(f"\nResults are in {run_dir}")
    return finished["val"]["scalars"][cfg.monitor]


def _say_if_equal(job: Job, split_hash: str) -> None:
    """Names the finished run that this one repeats under another name, if there is one."""
    if is_first_process() and (other := facts.equal_run(job, split_hash)):
        print(f"note: {job.run_dir} computes the same as {other}, which is finished", file=sys.stderr, flush=True)


def _fit_and_test(job: Job, data: DataModule, accelerator: str, devices: int) -> dict[str, Any]:
    """Every stage in order on one network; then, with the choice frozen, one look at the test part."""
    from ltmed.training.callbacks import checkpoints, progress
    from ltmed.training.recorders import Durations, LearningRates
    from ltmed.training.trainer import epochs_done, fit_stage, make_trainer

    cfg, run_dir = job.cfg, job.run_dir
    network = build_network(cfg, len(data.manifest.classes))
    logger = build(cfg.logger)(run_dir=run_dir, name=job.name, config=to_plain(cfg))
    trainer = stage = None
    for name, recipe in cfg.method.stages.items():
        folder = run_dir / "stages" / name
        monitor = f"{name}/val/{cfg.monitor}"
        stage = _build_stage(cfg.seed, name, recipe, network, data, folder)
        trainer = make_trainer(
            cfg.trainer, accelerator, devices, max_epochs=recipe.epochs, logger=logger, default_root_dir=run_dir,
            callbacks=[
                *checkpoints(folder, monitor, cfg.monitor_mode), *progress(monitor, cfg.trainer.enable_progress_bar),
                LearningRates(name), Durations(name, run_dir),
            ],
        )  # fmt: skip
        logger.rewind(name, epochs_done(folder))
        fit_stage(stage, data, folder, trainer, recipe.keep)
    assert stage is not None
    assert trainer is not None
    trainer.loggers = []  # What follows goes to metrics.json and `log_final`, not into the curves of training.
    trainer.validate(stage, datamodule=data, verbose=False)
    trainer.test(stage, datamodule=data, verbose=False)
    if not trainer.is_global_zero:
        return {}
    found = record.collect(cfg, data, stage.evaluations, facts.durations(run_dir))
    record.write(run_dir, found, data, stage.evaluations["test"])
    if cfg.figures:
        _draw(run_dir, found)
    logger.log_final(found)
    return found


def _draw(run_dir: Path, found: dict[str, Any]) -> None:
    from ltmed.plots.runs import FOLDER, draw
    from ltmed.runs.reader import Run

    draw(Run(run_dir, found), run_dir / FOLDER)


def _build_stage(
    run_seed: int, name: str, recipe: DictConfig, network: Network, data: DataModule, folder: Path
) -> Stage:
    """The stage's module, and `data` told how this stage wants its training images."""
    import torch

    from ltmed.data.datamodule import StageData
    from ltmed.training.context import StageContext

    seed = derive(run_seed, name)
    data.use(
        StageData(
            batch_size=recipe.batch_size, views=recipe.views, sampler=build(recipe.sampler),
            augment=build(recipe.augment), epochs=recipe.epochs, seed=seed,
        )
    )  # fmt: skip
    context = StageContext(
        name=name, seed=seed, epochs=recipe.epochs, classes=data.manifest.classes,
        counts=torch.from_numpy(data.counts), tiers=data.tiers, mean=data.mean, std=data.std,
        optimizer=build(recipe.optimizer), schedule=build(recipe.schedule), checkpoint=folder / "last.ckpt",
    )  # fmt: skip
    torch.manual_seed(derive(seed, "module"))
    return build(recipe.module)(network=network, context=context)
