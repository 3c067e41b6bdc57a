"""Changing modules of the program inside its own processes, each right after it is loaded."""

from __future__ import annotations

import importlib.abc
import importlib.util
import sys
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any


class OnImport(importlib.abc.MetaPathFinder):
    """Sees a module being loaded, lets it load, and then has it changed. Nothing is loaded for that."""

    def __init__(self, modules: Iterable[str], change: Callable[[ModuleType], object]) -> None:
        self._wanted, self._change = set(modules), change

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name not in self._wanted:
            return None
        self._wanted.discard(name)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return None
        load = spec.loader.exec_module

        def load_and_change(module: ModuleType) -> None:
            load(module)
            self._change(module)

        spec.loader.exec_module = load_and_change  # type: ignore[method-assign]
        return spec

    def install(self) -> None:
        """From now on, in this process."""
        sys.meta_path.insert(0, self)
