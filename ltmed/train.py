"""The whole flow of one run: data, network, one fit per stage, one test, results. Resumes wherever it was stopped."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from ltmed.config import validate
from ltmed.config.compose import compose_with_choices
from ltmed.config.instantiate import build, build_network, per_stage
from ltmed.config.pixels import resolve_pixels
from ltmed.config.targets import trusted
from ltmed.logging.console import print_summary
from ltmed.runs import record
from ltmed.runs.dataset import begin_split, open_dataset, split_record
from ltmed.runs.directory import require_same, run_dir_name
from ltmed.runs.lock import claimed
from ltmed.runs.start import existing, removed_if_refused, require_place
from ltmed.training import header, launcher
from ltmed.utils.modules import make_callable
from ltmed.utils.processes import is_first_process
from ltmed.utils.seeding import derive

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ltmed.data.datamodule import DataModule
    from ltmed.nn.network import Network
    from ltmed.runs.reader import Run
    from ltmed.training.stage import Stage


def train(cfg: DictConfig) -> float:
    """Runs what `cfg` describes in `cfg.run_dir`, continues it if it was stopped, or only reports it if it is done.

    Nothing is written before everything was checked that can be. While another job trains there it waits, and then goes
    on from what that one left.

    Returns:
        the validation value of `cfg.monitor` at the chosen checkpoint, for sweepers; never a test figure. NaN on
        ranks other than the first, which have no results.

    Raises:
        UserError: anything in the config, the data or the machine that the user has to mend.
        DivergedError: the loss became NaN or infinite.
    """
    with trusted():  # The user's own command says what is built.
        validate.check(cfg)
        run_dir = Path(cfg.run_dir)
        resolve_pixels(cfg, run_dir)
        # Before the config is written: what was computed with has to be in it.
        cfg.trainer.precision = launcher.resolve_precision(cfg.trainer.precision, cfg.trainer.accelerator)
        found = _finished(cfg, run_dir) or _train(cfg, run_dir, *_prepare(cfg, run_dir))
    if not is_first_process():
        return float("nan")
    print_summary(found)
    print(f"\nResults are in {run_dir}")
    return found["val"]["scalars"][cfg.monitor]


def _announce(text: str) -> None:
    if is_first_process():
        print(text, flush=True)


def _finished(cfg: DictConfig, run_dir: Path) -> dict[str, Any] | None:
    """The results of a finished run of this configuration; a root with other data than it had is refused."""
    if is_first_process():
        require_same(run_dir, cfg)
    found = record.read(run_dir) if run_dir.is_dir() else None
    if found and split_record(run_dir)["root"] != cfg.dataset.root:
        open_dataset(cfg, run_dir)
    return found


def _prepare(cfg: DictConfig, run_dir: Path) -> tuple[DataModule, Network, str, int]:
    """Everything that may be refused: place, devices, account, data, weights, images, and every stage once.

    Returns:
        the decoded data, the network with its initial weights, accelerator and number of processes on this machine.
    """
    from ltmed.training.frozen import attach_features

    require_place(run_dir)
    _announce(header.opening(cfg, run_dir))
    wanted = cfg.trainer
    accelerator, devices = launcher.count_devices(wanted.accelerator, wanted.devices, wanted.num_nodes)
    logger = build(cfg.logger)
    if is_first_process():
        logger.func.require_usable(**logger.keywords)
    data = open_dataset(cfg, run_dir)
    network = build_network(cfg, len(data.manifest.classes))
    _announce(header.details(cfg, data, accelerator, devices))
    data.open()  # Decode once, before there are ranks.
    attach_features(cfg, network, data, accelerator)
    _rehearse(cfg, network, data, accelerator, devices * wanted.num_nodes)
    return data, network, accelerator, devices


def _rehearse(cfg: DictConfig, network: Network, data: DataModule, accelerator: str, world: int) -> None:
    """Makes every stage and its loader once, so that the second one does not fail after hours of the first."""
    from ltmed.training import frozen, preflight, recipes
    from ltmed.training.trainer import callbacks_of

    callbacks_of(cfg.trainer)
    network = copy.deepcopy(network)
    preflight.require_images_fit(network, cfg.image_size, cfg.backbone.get("name", cfg.backbone._target_))
    data.require_images(world)
    loaders = []
    for name, recipe in _recipes(cfg):
        stage = _build_stage(cfg, name, recipe, network, data, Path(cfg.run_dir, "stages", name))
        frozen.require_possible(stage, data)
        recipes.require_possible(recipes.recipe_of(cfg, name), stage, accelerator)
        loaders.append(data.train_loader(0, world))
        images = loaders[-1].images_per_process
        preflight.require_batch_statistics(stage, images * (world if cfg.trainer.get("sync_batchnorm") else 1))
    data.compute_features(loaders)


def _train(
    cfg: DictConfig, run_dir: Path, data: DataModule, network: Network, accelerator: str, devices: int
) -> dict[str, Any]:
    """The run itself, in its folder; nothing but the results if another job has finished it meanwhile."""
    from ltmed.training.termination import terminable

    before = existing(run_dir)
    with claimed(run_dir, cfg), removed_if_refused(run_dir, before), terminable():
        if found := record.read(run_dir):
            return found
        begin_split(run_dir, data, cfg.dataset.root)
        with launcher.ranks(_plain(cfg), devices):
            return _fit_and_test(cfg, run_dir, data, network, accelerator, devices)


def _fit_and_test(
    cfg: DictConfig, run_dir: Path, data: DataModule, network: Network, accelerator: str, devices: int
) -> dict[str, Any]:
    """Every stage in order on one network; then, with the choice frozen, one look at the test part."""
    from ltmed.training.callbacks import progress
    from ltmed.training.checkpoints import EpochCheckpoints
    from ltmed.training.frozen import link_encoder
    from ltmed.training.recipes import apply, callbacks, recipe_of
    from ltmed.training.trainer import fit_stage, make_trainer, stage_start

    logger = build(cfg.logger)(run_dir=run_dir, config=_plain(cfg))
    trainer = stage = None
    for name, recipe in _recipes(cfg):
        folder, monitor = run_dir / "stages" / name, f"{name}/val/{cfg.monitor}"
        tuning = recipe_of(cfg, name)
        stage = apply(tuning, _build_stage(cfg, name, recipe, network, data, folder))
        trainer = make_trainer(
            cfg.trainer, accelerator, devices, max_epochs=recipe.epochs, logger=logger,
            default_root_dir=run_dir,
            accumulate_grad_batches=tuning.accumulate * cfg.trainer.get("accumulate_grad_batches", 1),
            callbacks=[
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
    trainer.loggers = []  # What follows goes to metrics.json and `log_final`, not into the curves of training.
    trainer.validate(stage, datamodule=data, verbose=False)
    trainer.test(stage, datamodule=data, verbose=False)
    if not trainer.is_global_zero:
        return {}
    link_encoder(network, data, run_dir)
    found = record.collect(cfg, data, stage.evaluations)
    record.write_predictions(run_dir, data, stage.evaluations["test"])
    if cfg.figures:
        _plot(run_dir, found)
    logger.log_final(found)
    record.write(run_dir, found)  # Last of all: that it is there means "finished", and nothing is made up for later.
    return found


def _plot(run_dir: Path, found: dict[str, Any]) -> None:
    from ltmed.plots import run_figures
    from ltmed.runs.reader import Run

    run_figures.save(Run(run_dir, found), run_dir / run_figures.FOLDER)


def _recipes(cfg: DictConfig) -> Iterator[tuple[str, DictConfig]]:
    """Name and recipe of every stage, with what the settings `epochs` and `batch_size` say."""
    stages = list(cfg.method.stages)
    given = {key: per_stage(cfg[key], stages, key) for key in ("epochs", "batch_size")}
    for name in stages:
        recipe = cfg.method.stages[name].copy()
        recipe.update({key: value[name] for key, value in given.items() if value[name] is not None})
        yield name, recipe


def _build_stage(
    cfg: DictConfig, name: str, recipe: DictConfig, network: Network, data: DataModule, folder: Path
) -> Stage:
    """The stage's module, and `data` told how this stage wants its training images."""
    import torch

    from ltmed.data.datamodule import StageData
    from ltmed.training.context import StageContext
    from ltmed.training.frozen import described
    from ltmed.training.recipes import recipe_of

    tuning = recipe_of(cfg, name)
    seed = derive(cfg.seed, name)
    data.use(
        StageData(
            batch_size=recipe.batch_size, views=recipe.views, sampler=build(recipe.sampler),
            augment=build(recipe.augment), epochs=recipe.epochs, seed=seed,
            described=described(recipe.augment, recipe.views), passes=cfg.features.views,
            accumulate=tuning.accumulate,
        )
    )  # fmt: skip
    context = StageContext(
        name=name, seed=seed, epochs=recipe.epochs, classes=data.manifest.classes,
        counts=torch.from_numpy(data.counts), tiers=data.tiers, mean=tuple(cfg.pixels.mean), std=tuple(cfg.pixels.std),
        interpolation=cfg.pixels.interpolation, layer_decay=tuning.layer_decay, head_lr_scale=tuning.head_lr_scale,
        optimizer=build(recipe.optimizer), schedule=build(recipe.schedule), checkpoint=folder / "last.ckpt",
    )  # fmt: skip
    torch.manual_seed(derive(seed, "module"))
    return build(recipe.module)(network=network, context=context)


def _plain(cfg: DictConfig) -> dict[str, Any]:
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


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
    from ltmed.errors import UserError
    from ltmed.runs.reader import read_run
    from ltmed.utils.processes import launched_from_outside

    if launched_from_outside():
        raise UserError(
            "ltmed.train was called in one of several processes", "Start `ltmed train` with srun or torchrun."
        )
    cfg, choices = compose_with_choices(overrides)
    if cfg.run_dir is None:
        cfg.run_dir = str(Path(cfg.runs) / run_dir_name(cfg, str(choices["dataset"]), list(overrides)))
    train(cfg)
    run = read_run(Path(cfg.run_dir))
    assert run is not None
    return run


# `import ltmed.train` makes the package's attribute `train` this module: it has to be callable.
make_callable(__name__, from_overrides)
