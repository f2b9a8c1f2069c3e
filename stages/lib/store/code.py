"""Which project files a module is made of: found by reading imports, never by importing.

A cell's key holds the text of the modules that compute it, and `check` writes down that of each stage, for DVC.
"""

import ast
import hashlib
from functools import cache
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


@cache
def closure(module: str) -> tuple[Path, ...]:
    """The files of a module and of all project modules that it imports, directly or not, relative to the repository.

    Args:
        module: dotted name, like `stages.finetune`.
    """
    found: dict[Path, None] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = file_of(name)
        if path is None or path in found:
            continue
        found[path] = None
        waiting += [imported for imported in imports(path) if imported.startswith("stages")]
    return tuple(sorted(found))


def file_of(module: str) -> Path | None:
    """The file of a dotted project name relative to the repository; None for a name inside a module, or a bare package."""
    path = Path(*module.split(".")).with_suffix(".py")
    return path if (ROOT / path).is_file() else None


@cache
def imports(path: Path) -> tuple[str, ...]:
    """Every dotted name that a file imports, and those that its tables of choices hold; `from a import b` gives both a and a.b."""
    names: dict[str, None] = {}
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            names |= dict.fromkeys(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names |= dict.fromkeys([node.module, *(f"{node.module}.{alias.name}" for alias in node.names)])
        elif isinstance(node, ast.Dict):  # a table of choices (`choice`)
            values = [value.value for value in node.values if isinstance(value, ast.Constant) and isinstance(value.value, str)]
            names |= dict.fromkeys(value for value in values if value.startswith("stages.lib."))
    return tuple(names)


@cache
def digest(*modules: str) -> str:
    """sha256 of the text of all files that the modules are made of."""
    paths = sorted({path for module in modules for path in closure(module)})
    text = hashlib.sha256()
    for path in paths:
        text.update(f"{path}\0".encode() + (ROOT / path).read_bytes() + b"\0")
    return text.hexdigest()


@cache
def digest_alone(*modules: str) -> str:
    """sha256 of the text of these modules, without what they import."""
    return hashlib.sha256(b"\0".join((ROOT / file_of(module)).read_bytes() for module in modules)).hexdigest()


@cache
def torch_version() -> str:
    """Without importing it; found among the installed packages, which takes longer than all else of a key."""
    return version("torch")
