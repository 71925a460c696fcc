"""Losses as pure functions with an oracle each. No config, no Lightning, no files, no process groups."""
