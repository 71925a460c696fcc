"""The hub that timm downloads weights from: one attempt, and a one-line error if it cannot be reached."""

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
def hub_errors(name: str) -> Iterator[None]:
    """Turns any error of downloading a model's weights in the body into one line that names the alternatives.

    Raises:
        UserError: any error but a misspelt option (TypeError), which the caller that builds the config reports.
    """
    try:
        with _offline_if_unreachable():
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
def _offline_if_unreachable() -> Iterator[None]:
    """Puts the hub's client into offline mode if the hub cannot be reached: otherwise it retries for a minute."""
    from huggingface_hub import constants

    logger, offline = logging.getLogger("huggingface_hub"), constants.HF_HUB_OFFLINE
    level, reason = logger.level, None if offline else _unreachable(constants.ENDPOINT)
    logger.setLevel(logging.ERROR)
    constants.HF_HUB_OFFLINE = offline or reason is not None
    try:
        yield
    except Exception as error:  # Includes the hub's own error classes.
        if reason is None:
            raise
        raise ConnectionError(reason) from error
    finally:
        logger.setLevel(level)
        constants.HF_HUB_OFFLINE = offline


def _unreachable(address: str) -> str | None:
    """Why there is no connection to a server, or None if there is one or a proxy is configured."""
    parts = urlsplit(address)
    if getproxies().get(parts.scheme):
        return None
    try:
        socket.create_connection((parts.hostname, parts.port or 443), timeout=5).close()
    except OSError as error:
        return f"no connection to {parts.hostname}: {error.strerror or error}"
    return None
