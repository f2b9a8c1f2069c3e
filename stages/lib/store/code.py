"""The hash of the code that decides a result, computed by reading source files, which are never imported for it.

A cell's key holds the hash of the code that computes it, and `check` writes the hash of each stage down, for DVC. What counts is
the syntax of a module without docstrings, comments and bare strings, so that better words recompute nothing. A module is made of
itself and of the project modules that it imports, also inside functions, but for those under `if TYPE_CHECKING:`, which never
run. A table of choices (`choice.py`) is left out: whoever makes a key names the chosen modules. A data file beside or below a
module, whose relative name stands in the module as a string, belongs to it.
"""

import hashlib
from functools import cache
from importlib.metadata import version
from pathlib import Path

from stages.lib.store.syntax import Known, Syntax

ROOT = Path(__file__).resolve().parents[3]


class Tree:
    """The project's modules below a folder, each read once.

    Args:
        root: the folder that holds `stages`.
        known: syntax that earlier processes have read from files of the same content.
    """

    def __init__(self, root: Path, known: Known | None = None):
        self.root, self.known = root, known or Known()
        self._syntax: dict[Path, Syntax] = {}
        self._modules: dict[str, Path | None] = {}
        self._closures: dict[tuple[str, bool], frozenset[Path]] = {}
        self._digests: dict[tuple[frozenset[str], bool], str] = {}

    def closure(self, *modules: str, choices: bool = False) -> tuple[Path, ...]:
        """The files that modules are made of, relative to the root, in the order of their names.

        Args:
            modules: dotted names, like `stages.finetune`.
            choices: whether the modules that tables of choices name belong to them.
        """
        return tuple(sorted(set().union(*(self._closure(module, choices) for module in modules))))

    def digest(self, *modules: str, choices: bool = False) -> str:
        """sha256 of the code of all files that the modules are made of."""
        asked = (frozenset(modules), choices)
        if asked not in self._digests:
            lines = [f"{path.as_posix()} {self._digest_of(path, choices)}\n" for path in self.closure(*modules, choices=choices)]
            self._digests[asked] = hashlib.sha256("".join(lines).encode()).hexdigest()
            self.known.keep()
        return self._digests[asked]

    def file_of(self, module: str) -> Path | None:
        """The file of a dotted project name relative to the root; None for a name inside a module, or a bare package."""
        if module not in self._modules:
            path = Path(*module.split(".")).with_suffix(".py")
            self._modules[module] = path if module.startswith("stages") and (self.root / path).is_file() else None
        return self._modules[module]

    def imports(self, path: Path) -> tuple[str, ...]:
        """Every dotted name that a file imports when it runs; `from a import b` gives both a and a.b."""
        return self.syntax(path).imports

    def syntax(self, path: Path) -> Syntax:
        if path not in self._syntax:
            self._syntax[path] = self.known.syntax_of((self.root / path).read_bytes())
        return self._syntax[path]

    def _closure(self, module: str, choices: bool) -> frozenset[Path]:
        if (module, choices) not in self._closures:
            paths, waiting = set(), [module]
            while waiting:
                path = self.file_of(waiting.pop())
                if path is not None and path not in paths:
                    paths |= {path, *self._data_files(path)}
                    syntax = self.syntax(path)
                    waiting += syntax.imports
                    waiting += [name for table in self._tables(syntax) for name in table.modules] if choices else []
            self._closures[module, choices] = frozenset(paths)
        return self._closures[module, choices]

    def _data_files(self, path: Path) -> list[Path]:
        named = [path.parent / name for name in self.syntax(path).file_names]
        return [file for file in named if file.suffix != ".py" and (self.root / file).is_file()]

    def _tables(self, syntax: Syntax) -> list:
        """The dict literals of a module that are tables of choices: all that they name exists."""
        return [table for table in syntax.tables if all(self.file_of(name) for name in table.modules)]

    def _digest_of(self, path: Path, choices: bool) -> str:
        if path.suffix != ".py":
            return hashlib.sha256((self.root / path).read_bytes()).hexdigest()
        syntax = self.syntax(path)
        left_out = [] if choices else self._tables(syntax)
        return " ".join([syntax.digest, *(table.digest for table in syntax.tables if table not in left_out)])


@cache
def tree() -> Tree:
    """The modules of this project."""
    return Tree(ROOT, Known.of_the_project())


def closure(*modules: str, choices: bool = False) -> tuple[Path, ...]:
    return tree().closure(*modules, choices=choices)


def digest(*modules: str, choices: bool = False) -> str:
    return tree().digest(*modules, choices=choices)


def file_of(module: str) -> Path | None:
    return tree().file_of(module)


def imports(path: Path) -> tuple[str, ...]:
    return tree().imports(path)


@cache
def version_of(library: str) -> str:
    """The version of a library from the list of installed packages: it is not imported, yet this takes longer than the rest of a key."""
    return version(library)
