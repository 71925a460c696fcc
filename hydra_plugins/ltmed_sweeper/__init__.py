"""The sweeper where Hydra looks for it: `hydra/sweeper=` takes plugins of the namespace `hydra_plugins` only."""

from __future__ import annotations

from ltmed.studies import sweeper


class JobSweeper(sweeper.JobSweeper):
    """Runs every job of `python run.py -m`; see `ltmed.studies.sweeper`."""
