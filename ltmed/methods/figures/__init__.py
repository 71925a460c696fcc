"""Figures of method-specific quantities; each is declared by its stage (`Stage.figures`).

A figure is a function `(data, stage) -> Figure | None` of a finished run's data (`ltmed.plots.run.data.RunData`) and
the stage's name in that run.
"""
