"""Names that load their module when they are first used, so that `import vesalius` stays quick."""

import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any


def lazily(
    package: str, *, modules: Iterable[str] = (), names: Mapping[str, str] | None = None
) -> Callable[[str], Any]:
    """Return a module-level `__getattr__` (PEP 562) for `package`.

    Args:
        package: the package's `__name__`.
        modules: submodules that can be reached as attributes.
        names: public name -> submodule that defines it.
    """
    submodules, where = frozenset(modules), dict(names or {})

    def get(name: str) -> Any:
        if name in where:
            return getattr(importlib.import_module(f"{package}.{where[name]}"), name)
        if name in submodules:
            return importlib.import_module(f"{package}.{name}")
        raise AttributeError(f"module '{package}' has no attribute '{name}'")

    return get
