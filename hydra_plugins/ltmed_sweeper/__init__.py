"""The sweeper where Hydra looks for it: only plugins in the namespace `hydra_plugins` can be chosen (`hydra/sweeper=`)."""

from __future__ import annotations

from ltmed.studies import sweeper


class JobSweeper(sweeper.JobSweeper):
    """Runs every job of `python run.py -m`; see `ltmed.studies.sweeper`."""
