"""ltmed: long-tailed medical image classification with PyTorch Lightning and Hydra.

The Python interface; each name is imported when it is first used, so that `import ltmed` is quick:

- `ltmed.train(["method=erm", "dataset=phantom"])` runs what the command line does, and returns the `Run`;
- `ltmed.load(run)` gives the trained network of a run, `ltmed.Predictor(run)` predictions for image files;
- `ltmed.Study("lmd/table3")` lists the runs behind a paper's table.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ltmed.inference.predictor import Predictor
    from ltmed.nn.network import Network
    from ltmed.runs.reader import Run
    from ltmed.studies.catalogue import NamedStudy as Study

    def train(overrides: Sequence[str] = ()) -> Run:
        """See `ltmed.train.from_overrides`."""
        ...


__version__ = "0.1.0"
__all__ = ["Predictor", "Run", "Study", "__version__", "load", "train"]

_LAZY = {
    "Predictor": ("ltmed.inference.predictor", "Predictor"),
    "Run": ("ltmed.runs.reader", "Run"),
    "Study": ("ltmed.studies.catalogue", "NamedStudy"),
}


def __getattr__(name: str) -> Any:
    if name == "train":  # The module, which can be called: see its end.
        return importlib.import_module("ltmed.train")
    if name not in _LAZY:
        raise AttributeError(f"module 'ltmed' has no attribute '{name}'")
    module, attribute = _LAZY[name]
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load(run: str | Path | Run, *, trust: bool = False) -> Network:
    """Returns the trained network of a finished run, in evaluation mode on the CPU.

    It is rebuilt from the run's config and reads its weights with `weights_only=True`: no pickled code is run.

    Args:
        run: a run, or its folder, in which `~` is the home folder.
        trust: also builds classes that are not part of ltmed, which runs code that the run's author has chosen.

    Returns:
        A module mapping normalised images `[B, 3, H, W]` to logits `[B, K]`.

    Raises:
        UserError: the folder has no finished run, or a file of it is missing or damaged.
        UntrustedTargetError: the run names a class that is not part of ltmed, and `trust` is False.
    """
    from ltmed.config.targets import trusted
    from ltmed.inference.restore import finished_run, load_network  # Imported only when they are needed.

    with trusted(trust):
        return load_network(finished_run(run))
