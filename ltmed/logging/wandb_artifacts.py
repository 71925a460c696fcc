"""Files of a run that Weights & Biases keeps: its checkpoint, its predictions, its card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltmed.data.cache.features import ENCODER
from ltmed.errors import require_choice
from ltmed.runs import facts, record
from ltmed.runs.directory import CONFIG, METRICS

if TYPE_CHECKING:
    import wandb

KINDS = {"checkpoint": "model", "predictions": "predictions", "card": "card"}
"""Name of an artifact -> its W&B type."""
CARD = "card.html"


def require_kinds(kinds: Sequence[str]) -> None:
    """Checks the setting `logger.artifacts`.

    Raises:
        UserError: a name that is not in `KINDS`.
    """
    for name in kinds:
        require_choice("logger.artifacts", name, tuple(KINDS))


def files(run_dir: Path, config: Mapping[str, Any], kind: str) -> list[str]:
    """The files of an artifact, as paths below the run's folder; those that the run does not have are left out.

    The checkpoint is that of the last stage, with what `ltmed predict` and `ltmed.load` need besides.

    Args:
        run_dir: the run's folder.
        config: its resolved configuration.
        kind: one of `KINDS`.
    """
    stages = config["method"]["stages"]
    name = list(stages)[-1]
    paths = {
        "checkpoint": (f"stages/{name}/{stages[name]['keep']}.ckpt", CONFIG, facts.RUN, ENCODER),
        "predictions": (record.PREDICTIONS, record.VALIDATION),
        "card": (CARD,),
    }[kind]
    return [path for path in paths if (run_dir / path).is_file()]


def artifacts_of(
    run_dir: Path, config: Mapping[str, Any], results: dict[str, Any], kinds: Sequence[str], run_id: str
) -> Iterator[wandb.Artifact]:
    """The artifacts of a run, `<kind>-<id of the run>`.

    Args:
        run_dir: the run's folder.
        config: its resolved configuration.
        results: metrics.json, which is not written yet.
        kinds: names of `KINDS`.
        run_id: of the W&B run.
    """
    import wandb

    for kind in dict.fromkeys(kinds):
        paths = files(run_dir, config, kind)
        if not paths:  # A card that could not be written is a warning of the run.
            continue
        artifact = wandb.Artifact(f"{kind}-{run_id}", type=KINDS[kind], metadata=dict(results["run"]))
        for path in paths:
            artifact.add_file(str(run_dir / path), name=path)
        if kind == "checkpoint":
            with artifact.new_file(METRICS, encoding="utf-8") as file:
                file.write(record.to_json(results))
        yield artifact
