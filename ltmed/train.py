"""The whole flow of one run: data, network, one fit per stage, one test, results. Resumes wherever it was stopped."""

from __future__ import annotations

import copy
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from ltmed.config.instantiate import build, build_network
from ltmed.config.resolve import to_plain
from ltmed.config.targets import trusted
from ltmed.errors import UserError
from ltmed.logging.console import print_summary
from ltmed.runs import facts, initial_weights, predictions, record
from ltmed.runs.dataset import begin_data, open_dataset, open_images
from ltmed.runs.directory import require_same
from ltmed.runs.job import Job, job_of
from ltmed.runs.lock import claimed
from ltmed.runs.start import existing, removed_if_refused, require_usable_folder
from ltmed.training import header, launcher
from ltmed.utils.modules import make_callable
from ltmed.utils.processes import is_first_process, launched_from_outside
from ltmed.utils.seeding import derive

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ltmed.data.datamodule import DataModule
    from ltmed.nn.network import Network
    from ltmed.runs.reader import Run
    from ltmed.training.stage import Stage


def train(job: Job) -> float:
    """Runs a job in its folder, continues it if it was stopped, or only reports it if it is done.

    Nothing is written before every check has passed. While another job trains in this folder it waits, and then
    continues from that job's checkpoints.

    Args:
        job: from `ltmed.runs.job.plan`; its configuration is read-only.

    Returns:
        the validation value of `cfg.monitor` at the selected checkpoint, for sweepers; never a test metric. NaN on
        ranks other than the first, which have no results.

    Raises:
        UserError: anything in the data or the machine that the user has to correct.
        DivergedError: the loss became NaN or infinite.
    """
    with trusted():  # The user wrote this command, so it may build any class.
        results = _finished(job) or _train(job, *_prepare(job))
    if not is_first_process():
        return float("nan")
    print_summary(results)
    print(f"\nResults are in {job.run_dir}")
    return results["val"]["scalars"][job.cfg.monitor]


def _finished(job: Job) -> dict[str, Any] | None:
    """The results of a finished run of this configuration; other data under a new root, or weights, are refused."""
    cfg, run_dir = job.cfg, job.run_dir
    if is_first_process():
        require_same(run_dir, cfg)
    results = record.read(run_dir) if run_dir.is_dir() else None
    if results and facts.read(run_dir)["split"]["root"] != cfg.dataset.root:
        open_dataset(cfg, run_dir)
    if results and initial_weights.is_file_changed(run_dir, cfg.backbone):
        encoder = build_network(cfg, len(results["test"]["per_class"])).encoder
        initial_weights.require_same(run_dir, cfg.backbone, initial_weights.digests(cfg.backbone, encoder))
    return results


def _prepare(job: Job) -> tuple[DataModule, Network, dict[str, Any] | None, str, int]:
    """Runs every check that may refuse the run: folder, devices, account, data, weights, images, and each stage once.

    Returns:
        the decoded data, the network with its initial weights, their digests, accelerator and number of processes on
        this machine.
    """
    from ltmed.training import targets
    from ltmed.training.frozen import attach_features

    cfg, run_dir = job.cfg, job.run_dir
    require_usable_folder(run_dir)
    settings = cfg.trainer
    accelerator, devices = launcher.count_devices(settings.accelerator, settings.devices, settings.num_nodes)
    logger = build(cfg.logger)
    if is_first_process():
        logger.func.require_usable(**logger.keywords)
    data = open_dataset(cfg, run_dir)
    targets.require_possible(cfg, data)
    network = build_network(cfg, len(data.manifest.classes))
    weights = initial_weights.digests(cfg.backbone, network.encoder)
    initial_weights.require_same(run_dir, cfg.backbone, weights)
    header.announce_details(cfg, data, accelerator, devices)
    open_images(data, run_dir)  # Decode once, before there are ranks.
    if is_first_process() and (other := facts.equal_run(job, data.digest, weights)):
        print(f"note: {run_dir} computes the same as {other}, which is finished", file=sys.stderr, flush=True)
    attach_features(cfg, network, data, accelerator)
    if data.features is not None and devices * settings.num_nodes > 1:
        raise UserError(
            f"Cached features of a frozen backbone train in one process, not in {devices * settings.num_nodes}",
            "Use trainer.devices=1, or features.cache=false.",
        )
    _rehearse(cfg, network, data, accelerator, devices * settings.num_nodes)
    return data, network, weights, accelerator, devices


def _rehearse(cfg: DictConfig, network: Network, data: DataModule, accelerator: str, world: int) -> None:
    """Builds every stage and its loader once, so that the second one does not fail after hours of the first."""
    from ltmed.training import frozen, preflight, recipes
    from ltmed.training.trainer import callbacks_of

    callbacks_of(cfg.trainer)
    network = copy.deepcopy(network)
    preflight.require_images_fit(network, cfg.image_size, cfg.backbone.get("name", cfg.backbone._target_))
    data.require_images(world)
    loaders = []
    for name, recipe in cfg.method.stages.items():
        stage = _build_stage(cfg, name, recipe, network, data, Path(cfg.run_dir, "stages", name))
        frozen.require_possible(stage, data)
        tuning = recipes.recipe_of(cfg, name)
        recipes.require_possible(tuning, stage, accelerator)
        loaders.append(data.train_loader(0, world))
        recipes.require_all_epochs(tuning, name, loaders[-1].complete_from)
        images = loaders[-1].images_per_process
        stage.require_batch(images)
        preflight.warn_of_two_corrections(stage, data)
        preflight.require_batch_statistics(stage, images * (world if cfg.trainer.get("sync_batchnorm") else 1))
    data.compute_features(loaders)


def _train(
    job: Job, data: DataModule, network: Network, weights: dict[str, Any] | None, accelerator: str, devices: int
) -> dict[str, Any]:
    """The run itself, in its folder; nothing but the results if another job has finished it meanwhile."""
    from ltmed.nn.pixels import Pixels
    from ltmed.training.frozen import save_encoder
    from ltmed.training.termination import terminable

    run_dir, pixels = job.run_dir, job.cfg.pixels
    before = existing(run_dir)
    with claimed(run_dir, job.cfg), removed_if_refused(run_dir, before), terminable():
        if results := record.read(run_dir):
            return results
        if is_first_process():
            facts.begin(job)
            begin_data(run_dir, data, job.cfg.dataset.root, weights)
            save_encoder(network, Pixels(tuple(pixels.mean), tuple(pixels.std), pixels.interpolation), data, run_dir)
        with launcher.ranks(job.to_json(), devices):
            return _fit_and_test(job, data, network, accelerator, devices)


def _fit_and_test(job: Job, data: DataModule, network: Network, accelerator: str, devices: int) -> dict[str, Any]:
    """Trains every stage in order on one network, then evaluates the selected checkpoint once on the test part."""
    from ltmed.training.callbacks.checkpoints import EpochCheckpoints
    from ltmed.training.callbacks.progress import progress
    from ltmed.training.callbacks.recorders import Durations, LearningRates
    from ltmed.training.recipes import apply, callbacks, recipe_of
    from ltmed.training.trainer import fit_stage, make_trainer, stage_start

    cfg, run_dir = job.cfg, job.run_dir
    logger = build(cfg.logger)(run_dir=run_dir, name=job.name, config=to_plain(cfg))
    trainer = stage = None
    for name, recipe in cfg.method.stages.items():
        folder, monitor = run_dir / "stages" / name, f"{name}/val/{cfg.monitor}"
        tuning = recipe_of(cfg, name)
        stage = apply(tuning, _build_stage(cfg, name, recipe, network, data, folder))
        trainer = make_trainer(
            cfg.trainer, accelerator, devices, max_epochs=recipe.epochs, logger=logger,
            default_root_dir=run_dir,
            accumulate_grad_batches=tuning.accumulate * cfg.trainer.get("accumulate_grad_batches", 1),
            callbacks=[
                LearningRates(name), Durations(name, run_dir),
                *callbacks(tuning, monitor, cfg.monitor_mode),
                *progress(monitor, cfg.trainer.enable_progress_bar),
                EpochCheckpoints(folder, monitor, cfg.monitor_mode),
            ],
        )  # fmt: skip
        start = stage_start(folder)
        logger.rewind(name, start.epochs)
        fit_stage(stage, data, folder, trainer, recipe.keep, start)
    assert stage is not None
    assert trainer is not None
    trainer.loggers = []  # The evaluations below go to metrics.json and `log_final`, not into the curves of training.
    trainer.validate(stage, datamodule=data, verbose=False)
    trainer.test(stage, datamodule=data, verbose=False)
    if not trainer.is_global_zero:
        return {}
    results = record.collect(cfg, data, stage.evaluations, facts.durations(run_dir))
    thresholds = record.thresholds(evaluations := stage.evaluations)
    predictions.write(run_dir, data, evaluations["val"], thresholds, record.VALIDATION)
    predictions.write(run_dir, data, evaluations["test"], thresholds)
    if cfg.figures:
        _plot(run_dir, results)
    if "card" in cfg.logger.get("artifacts", ()):
        _write_card(run_dir, results)
    logger.log_final(results)
    record.write(run_dir, results)  # Written last: its existence marks the run as finished.
    return results


def _plot(run_dir: Path, results: dict[str, Any]) -> None:
    from ltmed.plots.run import figures as run_figures
    from ltmed.runs.reader import Run

    run_figures.save(Run(run_dir, results), run_dir / run_figures.FOLDER)


def _write_card(run_dir: Path, results: dict[str, Any]) -> None:
    from ltmed.logging.wandb_artifacts import CARD
    from ltmed.plots.run import card_figures
    from ltmed.runs.reader import Run

    try:
        card_figures.write_html(Run(run_dir, results), run_dir / CARD)
    except Exception as error:  # As of figures: it must never cost the numbers of the run.
        warnings.warn(f"no card of {run_dir}: {type(error).__name__}: {error}", stacklevel=2)


def _build_stage(
    cfg: DictConfig, name: str, recipe: DictConfig, network: Network, data: DataModule, folder: Path
) -> Stage:
    """The stage's module, after `data` got the settings of its training images."""
    import torch

    from ltmed.data.datamodule import StageData
    from ltmed.training import targets
    from ltmed.training.context import StageContext
    from ltmed.training.frozen import view_descriptions
    from ltmed.training.recipes import recipe_of

    tuning = recipe_of(cfg, name)
    seed = derive(cfg.seed, name)
    data.use(
        StageData(
            batch_size=recipe.batch_size, views=recipe.views, sampler=build(recipe.sampler),
            augment=build(recipe.augment), epochs=recipe.epochs, seed=seed,
            described=view_descriptions(recipe.augment, recipe.views), passes=cfg.features.views,
            accumulate=tuning.accumulate,
        )
    )  # fmt: skip
    context = StageContext(
        name=name, seed=seed, epochs=recipe.epochs, classes=data.manifest.classes,
        counts=targets.counts_of(data), tiers=data.tiers, mean=tuple(cfg.pixels.mean), std=tuple(cfg.pixels.std),
        interpolation=cfg.pixels.interpolation, layer_decay=tuning.layer_decay, head_lr_scale=tuning.head_lr_scale,
        optimizer=build(recipe.optimizer), schedule=build(recipe.schedule), checkpoint=folder / "last.ckpt",
        class_losses=cfg.class_losses,
    )  # fmt: skip
    torch.manual_seed(derive(seed, "module"))
    return build(recipe.module)(network=network, context=context)


def from_overrides(overrides: Sequence[str] = ()) -> Run:
    """`ltmed.train([...])`: starts, continues or reports the run that `ltmed train OVERRIDES` would, in its folder.

    With `trainer.devices=N` it starts the other processes itself; it cannot be called by each of several that srun or
    torchrun started. A script that calls it with several devices or `dataset.workers` needs no guard, since the other
    processes do not import the script.

    Args:
        overrides: as on the command line, one run: `["method=erm", "dataset=phantom", "epochs=5"]`.

    Returns:
        the finished run.

    Raises:
        UserError: anything in the config, the data or the machine that the user has to fix.
        HydraException: an override that cannot be read, or names what does not exist.
    """
    from ltmed.runs.reader import read_run

    if launched_from_outside():
        raise UserError(
            "ltmed.train was called in one of several processes", "Start `ltmed train` with srun or torchrun."
        )
    job = job_of(overrides)
    header.announce(job.cfg, job.name.dataset, job.run_dir)
    train(job)
    run = read_run(job.run_dir)
    assert run is not None
    return run


# `import ltmed.train` makes the package's attribute `train` this module: it has to be callable.
make_callable(__name__, from_overrides)
