"""Imported last by the fork server of `tests/harness.py`."""

import atexit
import gc
import importlib
import pkgutil
from pathlib import Path

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode

import ltmed
import tests.economy

gc.disable()

for module in pkgutil.walk_packages(ltmed.__path__, "ltmed."):
    if not module.name.endswith(".__main__"):
        importlib.import_module(module.name)
tests.economy.apply()
# What nearly every forked command begins with: Hydra looks for its plugins and reads the files of these choices.
with initialize_config_dir(str(Path(__file__).resolve().parents[1] / "conf"), version_base=None):
    hydra = GlobalHydra.instance().hydra
    assert hydra
    for mode in (RunMode.RUN, RunMode.MULTIRUN):
        for choices in (
            ["dataset=isic2018", "backbone=smallest"],
            ["dataset=isic2018", "backbone=smallest", "method=erm"],
        ):
            hydra.compose_config("config", choices, mode)
# Without this the first full collection in every forked process visits, and so copies, all objects of the libraries:
# a quarter of the time of a short run.
gc.enable()
gc.collect()
gc.freeze()
atexit.register(gc.unfreeze)
