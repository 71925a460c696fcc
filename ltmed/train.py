"""The whole flow of one run: data, network, one fit per stage, one test, results. Resumes wherever it was stopped."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from ltmed.config import validate
from ltmed.config.compose import compose_with_choices
from ltmed.config.instantiate import build, build_network, per_stage
from ltmed.logging.console import print_summary
from ltmed.runs import record
from ltmed.runs.dataset import open_dataset, split_record
from ltmed.runs.directory import run_dir_name
from ltmed.runs.lock import claimed
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

    While another job trains there it waits, and then goes on from what that one left.

    Returns:
        the validation value of `cfg.monitor` at the chosen checkpoint, for sweepers; never a test figure. NaN on
        ranks other than the first, which have no results.

    Raises:
        UserError: anything in the config, the data or the machine that the user has to mend.
    """
    validate.check(cfg)
    run_dir = Path(cfg.run_dir)
    # Before the config is written: what was computed with has to be in it.
    cfg.trainer.precision = launcher.resolve_precision(cfg.trainer.precision, cfg.trainer.accelerator)
    with claimed(run_dir, cfg):
        finished = record.read(run_dir)
        if not finished:
            _announce(header.opening(cfg, run_dir))
        if not finished or split_record(run_dir)["root"] != cfg.dataset.root:
            data = open_dataset(
                cfg, run_dir
            )  # Refuses a root with other data: a finished run has to speak for this one.
            if not finished:
                accelerator, devices = launcher.count_devices(
                    cfg.trainer.accelerator, cfg.trainer.devices, cfg.trainer.num_nodes
                )
                _announce(header.details(cfg, data, accelerator, devices))
                data.open()  # Decode once, before there are ranks.
                with launcher.ranks(_plain(cfg), devices):
                    finished = _fit_and_test(cfg, run_dir, data, accelerator, devices)
    if not is_first_process():
        return float("nan")
    print_summary(finished)
    print(f"\nResults are in {run_dir}")
    return finished["val"]["scalars"][cfg.monitor]


def _announce(text: str) -> None:
    if is_first_process():
        print(text, flush=True)


def _fit_and_test(cfg: DictConfig, run_dir: Path, data: DataModule, accelerator: str, devices: int) -> dict[str, Any]:
    """Every stage in order on one network; then, with the choice frozen, one look at the test part."""
    from ltmed.training.callbacks import checkpoints, progress
    from ltmed.training.trainer import epochs_done, fit_stage, make_trainer

    stages = list(cfg.method.stages)
    given = {key: per_stage(cfg[key], stages, key) for key in ("epochs", "batch_size")}
    network = build_network(cfg, len(data.manifest.classes))
    logger = build(cfg.logger)(run_dir=run_dir, config=_plain(cfg))
    trainer = stage = None
    for name in stages:
        recipe, folder = cfg.method.stages[name].copy(), run_dir / "stages" / name
        recipe.update({key: value[name] for key, value in given.items() if value[name] is not None})
        monitor = f"{name}/val/{cfg.monitor}"
        stage = _build_stage(cfg, name, recipe, network, data, folder)
        trainer = make_trainer(
            cfg.trainer, accelerator, devices, max_epochs=recipe.epochs, logger=logger, default_root_dir=run_dir,
            callbacks=[
                *checkpoints(folder, monitor, cfg.monitor_mode), *progress(monitor, cfg.trainer.enable_progress_bar),
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
    found = record.collect(cfg, data, stage.evaluations)
    record.write(run_dir, found, data, stage.evaluations["test"])
    if cfg.figures:
        _plot(run_dir, found)
    logger.log_final(found)
    return found


def _plot(run_dir: Path, found: dict[str, Any]) -> None:
    from ltmed.plots import run_figures
    from ltmed.runs.reader import Run

    run_figures.save(Run(run_dir, found), run_dir / run_figures.FOLDER, trusted=True)


def _build_stage(
    cfg: DictConfig, name: str, recipe: DictConfig, network: Network, data: DataModule, folder: Path
) -> Stage:
    """The stage's module, and `data` told how this stage wants its training images."""
    import torch

    from ltmed.data.datamodule import StageData
    from ltmed.training.context import StageContext

    seed = derive(cfg.seed, name)
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
        class_losses=cfg.class_losses,
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
