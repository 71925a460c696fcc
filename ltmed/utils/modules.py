"""Modules that can be called."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any


def make_callable(name: str, function: Callable[..., Any]) -> None:
    """Makes calling the module `name` call `function`.

    Importing a submodule sets the package's attribute of that name to the module, whatever was there before. Where a
    package offers a function of the same name, the module has to stand for both. Python supports this by giving the
    module a class of its own (language reference, "Customizing module attribute access").

    Args:
        name: of an imported module.
        function: what a call does.
    """

    class CallableModule(ModuleType):
        __call__ = staticmethod(function)

    sys.modules[name].__class__ = CallableModule
