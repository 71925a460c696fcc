"""The folders in which Hydra looks for configuration files, besides `conf/`."""

from __future__ import annotations

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin

from ltmed.config.paths import own_folders, require_own_names


class LtmedSearchPath(SearchPathPlugin):
    """Adds the user's own folders behind `conf/`."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Called by Hydra whenever it makes a search path."""
        for folder in own_folders():
            search_path.append("ltmed", f"file://{folder}")


def register() -> None:
    """Registers the plugin with Hydra in this process; jobs in other processes receive the search path.

    Registered by hand and not found by Hydra (`hydra_plugins`), where it would change every other program in the
    environment that uses Hydra.

    Raises:
        UserError: a folder of the user's does not exist, or has a file that would be ignored.
    """
    require_own_names()
    Plugins.instance().register(LtmedSearchPath)
