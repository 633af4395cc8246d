"""A package that is also a public function of its name, such as `paraclip_bench.finetune(...)`."""

from __future__ import annotations

import inspect
import types
from typing import Any


class CallableModule(types.ModuleType):
    """The package's `__class__`: calling it calls the function of `paraclip_bench.api`."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call `paraclip_bench.api`'s function of this package's name."""
        return self._function(*args, **kwargs)

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self._function)

    @property
    def _function(self) -> Any:
        from paraclip_bench import api

        return getattr(api, self.__name__.rpartition(".")[2])
