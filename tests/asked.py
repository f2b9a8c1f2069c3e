"""Which modules of the project each of them asks for while it is loaded; in a process of its own."""

import builtins
import importlib
import sys
from types import ModuleType

PROJECT = "stages"


def of_the_project(name: str) -> bool:
    return name.split(".", maxsplit=1)[0] == PROJECT


def asked(first: str, modules: list[str]) -> tuple[list[str], dict[str, list[str]]]:
    """What Python holds of the project once `first` is imported, and for each module what was asked for while it was loaded."""
    python_s_own, by_name, found = builtins.__import__, importlib.import_module, {}

    def note(*wanted: str) -> None:
        """Enter what is a module with the module whose body runs."""
        frame = sys._getframe(2)
        while frame and not (frame.f_code.co_name == "<module>" and of_the_project(frame.f_globals["__name__"])):
            frame = frame.f_back
        if frame:
            found.setdefault(frame.f_globals["__name__"], set()).update(name for name in wanted if name in sys.modules)

    def imported(name: str, globals: dict | None = None, locals: dict | None = None, fromlist: tuple = (), level: int = 0) -> ModuleType:
        module = python_s_own(name, globals, locals, fromlist, level)
        if of_the_project(name):
            note(name, *(f"{name}.{part}" for part in fromlist or ()))
        return module

    def imported_by_name(name: str, package: str | None = None) -> ModuleType:
        module = by_name(name, package)
        if of_the_project(name):
            note(name)
        return module

    for name in filter(of_the_project, list(sys.modules)):
        del sys.modules[name]
    builtins.__import__, importlib.import_module = imported, imported_by_name
    importlib.import_module(first)
    alone = sorted(filter(of_the_project, sys.modules))
    for module in modules:
        importlib.import_module(module)
    return alone, {name: sorted(names) for name, names in found.items()}
