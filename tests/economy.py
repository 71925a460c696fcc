"""What every process of the tests does without: it costs time and shows nothing."""

import os

import yaml


def apply() -> None:
    """Call it before a configuration is composed or a file is written."""
    # libyaml's parser, from which OmegaConf derives its own: a fifth of the time of composing a configuration.
    yaml.SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    # What fsync is for, a power cut, no test can make; a killed process loses nothing that it wrote.
    os.fsync = _no_wait


def _no_wait(fd: int) -> None:
    """In place of `os.fsync`."""
