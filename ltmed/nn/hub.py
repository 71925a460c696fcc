"""The hub that timm fetches weights from: one attempt, and one line where it cannot be reached."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit
from urllib.request import getproxies

from ltmed.errors import UserError
from ltmed.nn.weights import first_line


@contextmanager
def reached(name: str) -> Iterator[None]:
    """Turns whatever fetching a model's weights in the body ends in into one line with the ways around it.

    Raises:
        UserError: anything but a misspelt option (TypeError), which is named where configs are built.
    """
    try:
        with _patient_for_seconds():
            yield
    except (TypeError, UserError):
        raise
    except Exception as error:  # Hub clients raise errors of their own HTTP libraries.
        raise UserError(
            f"The pretrained weights of '{name}' could not be fetched ({first_line(error)})",
            "Pass a local checkpoint with backbone.weights=FILE, or start from random weights with "
            "backbone.pretrained=false.",
        ) from error


@contextmanager
def _patient_for_seconds() -> Iterator[None]:
    """Keeps the hub's client to its cache where the hub cannot be reached: it would try, and say so, for a minute."""
    from huggingface_hub import constants

    logger, offline = logging.getLogger("huggingface_hub"), constants.HF_HUB_OFFLINE
    level, reason = logger.level, None if offline else _unreachable(constants.ENDPOINT)
    logger.setLevel(logging.ERROR)
    constants.HF_HUB_OFFLINE = offline or reason is not None
    try:
        yield
    except Exception as error:  # The hub's own classes, among others.
        if reason is None:
            raise
        raise ConnectionError(reason) from error
    finally:
        logger.setLevel(level)
        constants.HF_HUB_OFFLINE = offline


def _unreachable(address: str) -> str | None:
    """Why there is no connection to a server, or None if there is one or a proxy would make it."""
    parts = urlsplit(address)
    if getproxies().get(parts.scheme):
        return None
    try:
        socket.create_connection((parts.hostname, parts.port or 443), timeout=5).close()
    except OSError as error:
        return f"no connection to {parts.hostname}: {error.strerror or error}"
    return None
