"""Computes one piece of work of each kind, and says which files of the project that took; in a process of its own.

A file counts where a module is loaded while the work is done, or where a function runs below one of the module that computes.
"""

import os
import sys
from pathlib import Path
from types import FrameType

import kinds

PROJECT = "stages"


class Trace:
    """Notes the files whose functions run while the computing module has a function on the stack."""

    def __init__(self, root: Path, module: Path):
        self.root, self.module, self.depth, self.files = f"{root}{os.sep}", str(root / module), 0, set()

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        name = frame.f_code.co_filename
        inside = name == self.module and frame.f_code.co_name != "<module>"
        if event == "call":
            self.depth += inside
            if self.depth and name.startswith(self.root):
                self.files.add(name.removeprefix(self.root))
        elif event == "return":
            self.depth -= inside


def loaded() -> set[str]:
    return {name for name in sys.modules if name.split(".")[0] == PROJECT}


def trace(kind: str) -> dict[str, list]:
    """The files that the work of a kind took, and the modules whose code its key holds."""
    from importlib import import_module

    for name in loaded():
        del sys.modules[name]
    entry, make = kinds.KINDS[kind]
    import_module(entry)
    from stages.lib.store import code

    before, held, digest = loaded(), [], code.digest
    work = make()
    code.digest = lambda *modules, **how: held.append(modules) or digest(*modules, **how)
    work.key()
    code.digest = digest
    made = loaded() - before  # by the test itself, to make the work
    for name in made:
        del sys.modules[name]
    tracer = Trace(code.ROOT, code.file_of(work.module))
    sys.setprofile(tracer)
    try:
        work.compute()
    finally:
        sys.setprofile(None)
    late = {str(code.file_of(name)) for name in loaded() - before - made if code.file_of(name)}
    return {"files": sorted({name for name in tracer.files if name.startswith(PROJECT)} | late), "held": held}


def traces(folder: Path) -> dict[str, dict[str, list]]:
    """... of every kind. The project is loaded anew for each, so call it in a process of its own."""
    import torch

    os.chdir(folder)
    os.environ["DVC_ROOT"] = str(folder)
    torch.set_num_threads(1)
    kinds.prepare(folder)
    return {kind: trace(kind) for kind in kinds.KINDS}
