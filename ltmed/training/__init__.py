"""One stage, one fit: the base of all stages, trainer, callbacks, schedules, launch of further processes."""
