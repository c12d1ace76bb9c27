"""Classes of diffusers and transformers, imported without what other uses of them need.

With a network diffusers imports all networks of its kind and, to read files of other programs, its
schedulers with scipy and two classes of transformers; transformers imports losses with scipy. That
takes more than half of the time of the import, and dfast uses none of it. So modules stand in for
these while a class is imported, and what they stand for is imported when something uses it: a host
finds all that an ordinary import leaves.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from dfast.host.collection import no_collection

_PACKAGES = tuple(f"diffusers.models.{kind}" for kind in ("autoencoders", "transformers", "unets"))
"""Packages that import all of their modules."""
_OTHERS = {
    "scipy.integrate": (),
    "scipy.optimize": ("linear_sum_assignment",),
    "scipy.stats": (),
    "transformers": ("AutoImageProcessor", "PreTrainedModel"),
}
"""Modules that stand aside, and the names that are imported from them, for calls and to compare
types in calls."""
_OF_DIFFUSERS = {
    "peft": (),
    "peft.helpers": ("disable_input_dtype_casting",),
    "peft.tuners.tuners_utils": ("BaseTunerLayer",),
}
"""More of them for diffusers alone: where peft is installed, it imports models of transformers."""
_LASTING = "peft.tuners.tuners_utils"
"""The one that stays until peft itself is imported: networks of diffusers import its class in every
call, to scale layers of peft if they are to be scaled."""


class _Package(ModuleType):
    """A package that runs when something asks for a name other than a module in it."""

    def __getattr__(self, name: str) -> Any:
        names = vars(self)
        if not names.get("_has_run"):
            names["_has_run"] = True
            names["__spec__"].loader.exec_module(self)
            return getattr(self, name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")


class _StandIn(ModuleType):
    """A module in place of another, which is imported later for the names in it."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:
            if name.startswith("__") or not vars(self).get("_lasts"):
                raise AttributeError(f"{self.__name__} is not imported yet")
            del sys.modules[self.__name__]  # somebody wants more of it than was put aside
        return getattr(import_module(self.__name__), name)


class _Later(type):
    """The type of a class in place of a class or function, which is imported when it is used."""

    def __new__(cls, name: str, bases: tuple[type, ...], names: dict[str, Any]) -> _Later:
        """Refuse to be the base of a class."""
        if bases:
            raise TypeError(f"{name} needs a base class that is not imported yet")
        return super().__new__(cls, name, bases, names)

    def _real(cls) -> Any:
        return getattr(import_module(cls.__module__), cls.__name__)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return cls._real()(*args, **kwargs)

    def __getattr__(cls, name: str) -> Any:
        return getattr(cls._real(), name)

    def __instancecheck__(cls, instance: Any) -> bool:
        module = sys.modules.get(cls.__module__)
        if module is None or isinstance(module, _StandIn):  # what is not imported has no instances
            return False
        return isinstance(instance, cls._real())

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, cls._real())


class _UntilPeft(MetaPathFinder):
    """Lets the lasting module go when peft itself is looked for; it is asked for every import."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """Return nothing."""
        if name == _LASTING.partition(".")[0]:
            sys.meta_path.remove(self)
            if isinstance(sys.modules.get(_LASTING), _StandIn):
                del sys.modules[_LASTING]


_UNTIL_PEFT = _UntilPeft()


def class_of(library: str, name: str) -> Any:
    """Return a class of a network.

    Args:
        library: "diffusers" or "transformers", or the module in it that has the class.
        name: of the class.

    Raises:
        AttributeError: if there is none of this name.
        ImportError: if the library, or a package that it needs, is missing.
    """
    with no_collection():
        try:
            with _stand_ins(library):
                return getattr(import_module(library), name)
        except Exception:  # what another version needs at once, it gets
            return getattr(import_module(library), name)


@contextmanager
def _stand_ins(library: str) -> Iterator[None]:
    """Put what a library does not need aside inside the block, where it is not imported already."""
    made: list[ModuleType] = []
    try:
        others = _OTHERS | _OF_DIFFUSERS if library == "diffusers" else _OTHERS
        for other, classes in others.items():
            if library.startswith(other):
                continue
            if (module := _put(other, _StandIn)) is not None:
                made.append(module)
                for name in classes:
                    setattr(module, name, _Later(name, (), {"__module__": other}))
        for name in _PACKAGES if library == "diffusers" else ():
            _put(name, _Package)
        yield
    finally:
        for module in made:
            if sys.modules.get(module.__name__) is not module:
                continue
            if module.__name__ == _LASTING:
                vars(module)["_lasts"] = True
                sys.meta_path.insert(0, _UNTIL_PEFT)
            else:
                del sys.modules[module.__name__]


def _put(name: str, kind: type[ModuleType]) -> ModuleType | None:
    """Put a module into `sys.modules`; None if it is there already or not installed."""
    top, (above, _, last) = name.partition(".")[0], name.rpartition(".")
    if name in sys.modules or find_spec(top) is None:
        return None
    if isinstance(sys.modules.get(top), _StandIn):
        spec: ModuleSpec | None = ModuleSpec(name, None)  # to look for it imports what is above
    else:
        spec = find_spec(name)
    if spec is None:
        return None
    module = kind(name)
    module.__spec__, module.__loader__, module.__file__ = spec, spec.loader, spec.origin
    if kind is _Package and spec.submodule_search_locations is not None:
        module.__path__ = spec.submodule_search_locations
        setattr(sys.modules[above], last, module)  # as an import would
    sys.modules[name] = module
    return module
