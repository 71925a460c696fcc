"""What may be set of Lightning's trainer: a setting that the framework overrides is refused, never ignored."""

from __future__ import annotations

from typing import Any

from ltmed.errors import UserError, suggest

_EPOCHS = "Set epochs=N, or method.stages.<stage>.epochs=N: a stage is a number of whole epochs."
_RESUME = "A run that is stopped from outside, for instance by Slurm's time limit, goes on with the same command."
_WHOLE = "Every epoch is validated on the whole part, since that chooses the checkpoint; split.val sets its size."
_TRY = "For a quick try: epochs=1 +trainer.limit_train_batches=2, or dataset=phantom backbone=tiny."
REFUSED = {
    "max_epochs": _EPOCHS,
    "min_epochs": _EPOCHS,
    "max_steps": _EPOCHS,
    "min_steps": _EPOCHS,
    "max_time": _RESUME,
    "fast_dev_run": _TRY,
    "overfit_batches": _TRY,
    "limit_val_batches": _WHOLE,
    "val_check_interval": _WHOLE,
    "check_val_every_n_epoch": _WHOLE,
    "num_sanity_val_steps": "The first epoch is validated like every other.",
    "limit_test_batches": "The results are those of the whole test part; split.test sets its size.",
    "limit_predict_batches": "Training predicts nothing; `ltmed predict` does.",
    "logger": "Choose logger=csv or logger=wandb.",
    "plugins": "Choose trainer.precision; checkpoints and clusters are handled by ltmed.",
    "strategy": "Set trainer.devices and trainer.num_nodes: several processes train with DDP.",
    "enable_checkpointing": "Two checkpoints are saved of every stage; method.stages.<stage>.keep chooses one.",
    "enable_model_summary": "+trainer.callbacks.summary._target_=lightning.pytorch.callbacks.ModelSummary prints one.",
    "use_distributed_sampler": "Samplers divide their batches among the processes themselves: sampler=NAME.",
    "default_root_dir": "Choose the folder with run_dir=FOLDER, or runs=FOLDER for all runs.",
    "reload_dataloaders_every_n_epochs": "A sampler draws new batches in every epoch: sampler=NAME.",
    "barebones": "It switches off the logger and the checkpoints that a run is made of.",
    "inference_mode": "Evaluation is always without gradients.",
    "profiler": "Its report would not be shown. Profile the command itself, for instance with py-spy.",
    "model_registry": "Checkpoints stay in the folder of the run.",
    "enable_autolog_hparams": "config.yaml holds all settings of the run.",
}
"""Argument of `lightning.pytorch.Trainer` that ltmed sets itself -> what to set in its place."""
OFFERED = (
    "accelerator", "devices", "num_nodes", "precision", "gradient_clip_val", "gradient_clip_algorithm",
    "accumulate_grad_batches", "limit_train_batches", "log_every_n_steps", "benchmark", "deterministic",
    "detect_anomaly", "sync_batchnorm", "enable_progress_bar", "callbacks",
)  # fmt: skip
_AVERAGES = "lightning.pytorch.callbacks.StochasticWeightAveraging"


def check_trainer(node: dict[str, Any]) -> None:
    """Refuses settings of the config group `trainer` that would have no effect.

    Args:
        node: the resolved group.

    Raises:
        UserError: names the setting to use instead, or similar ones.
    """
    for key in node:
        if key in REFUSED:
            raise UserError(f"trainer.{key} has no effect in ltmed", REFUSED[key])
        if key not in OFFERED and not key.startswith("_"):
            raise UserError(f"The trainer has no setting '{key}'", suggest(key, OFFERED))
    if node.get("accelerator") == "cpu" and node.get("sync_batchnorm") and _several(node):
        raise UserError(
            "trainer.sync_batchnorm=true is not possible on CPUs: PyTorch synchronises BatchNorm on GPUs only",
            "Leave it out, or use trainer.accelerator=gpu.",
        )
    callbacks = node.get("callbacks") or []
    for callback in callbacks.values() if isinstance(callbacks, dict) else callbacks:
        if isinstance(callback, dict) and str(callback.get("_target_")).endswith(_AVERAGES.rpartition(".")[2]):
            raise UserError(
                f"The callback {_AVERAGES} averages after the last checkpoint is written, so that it has no effect",
                "Leave it out.",
            )


def _several(node: dict[str, Any]) -> bool:
    return node.get("devices") not in (1, -1, "auto") or node.get("num_nodes", 1) > 1
