"""Imported last by the fork server of `tests/harness.py`."""

import atexit
import gc

import tests.economy

# Without this the first full collection in every forked process visits, and so copies, all objects of the libraries:
# a quarter of the time of a short run.
gc.freeze()
atexit.register(gc.unfreeze)
tests.economy.apply()
