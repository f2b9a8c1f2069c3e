"""Syntax of a Python file: the hash of its syntax tree, its imports, and the modules and files that it names.

Parsing takes milliseconds a file, so the results are kept in `.cells/code.json` beside the original repository, under the
sha256 of the file's bytes. Where code.json is damaged or another process has just replaced it, files are parsed again.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.lib.errors import RunError
from stages.lib.store import files

if TYPE_CHECKING:
    import ast

SCHEME = 1  # version of the hashes below and of the file that keeps them; add one where their ingredients change
MOST = 2000  # files that are remembered; when there are more, those that this process has not read are forgotten
FILE_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)*\.\w+")
MODULE_NAME = re.compile(r"stages(\.\w+)+")


@dataclass(frozen=True)
class Table:
    """A dict literal all of whose values look like dotted names of project modules."""

    modules: tuple[str, ...]
    digest: str


@dataclass(frozen=True)
class Syntax:
    digest: str  # sha256 of the syntax tree without docstrings, bare strings and tables
    imports: tuple[str, ...]  # dotted names, of modules or of what is in them
    tables: tuple[Table, ...]
    file_names: tuple[str, ...]  # strings that look like relative names of files


def parse(text: bytes) -> Syntax:
    """Raises SyntaxError when the text is no Python."""
    import ast  # here, as it is needed only for files that were never read before

    reader = _Reader(ast)
    content = reader.written(ast.parse(text))
    return Syntax(_sha256(content), tuple(reader.imports), tuple(reader.tables), tuple(reader.file_names))


class _Reader:
    """Writes a syntax tree down as text: the type of each node and its fields that are not empty, in their order.

    Fields that are empty are left out, as newer versions of Python add some; positions and the context of names are left out, too.
    """

    def __init__(self, ast_module: Any):
        self.ast = ast_module
        self.imports: dict[str, None] = {}
        self.file_names: dict[str, None] = {}
        self.tables: list[Table] = []

    def written(self, node: "ast.AST") -> str:
        self._note(node)
        table = self._modules_of(node)
        if table:
            self.tables.append(Table(table, _sha256("".join(self._fields(node)))))
            return "(table)"
        return f"({type(node).__name__}{''.join(self._fields(node))})"

    def _fields(self, node: "ast.AST") -> Iterator[str]:
        for name, value in self.ast.iter_fields(node):
            if (value is None and not isinstance(node, self.ast.Constant)) or value == [] or name in ("ctx", "kind", "type_comment"):
                continue
            if isinstance(node, self.ast.If) and name == "body" and self._never_runs(node):
                continue
            yield f" {name}={self._value(value)}"

    def _value(self, value: Any) -> str:
        if isinstance(value, list):
            return f"[{' '.join(self._value(item) for item in value if not self._is_bare_string(item))}]"
        return self.written(value) if isinstance(value, self.ast.AST) else repr(value)

    def _note(self, node: "ast.AST") -> None:
        """Keep the modules that the node imports, or the file that it names."""
        if isinstance(node, self.ast.Import):
            self.imports |= dict.fromkeys(alias.name for alias in node.names)
        elif isinstance(node, self.ast.ImportFrom) and node.level == 0 and node.module:
            self.imports |= dict.fromkeys([node.module, *(f"{node.module}.{alias.name}" for alias in node.names)])
        elif isinstance(node, self.ast.Constant) and isinstance(node.value, str) and FILE_NAME.fullmatch(node.value):
            self.file_names[node.value] = None

    def _modules_of(self, node: "ast.AST") -> tuple[str, ...]:
        """The values of a dict literal that may be a table of choices; none for any other node."""
        if not isinstance(node, self.ast.Dict):
            return ()
        names = [getattr(value, "value", None) for value in node.values]
        return tuple(names) if all(isinstance(name, str) and MODULE_NAME.fullmatch(name) for name in names) else ()

    def _is_bare_string(self, node: Any) -> bool:
        is_constant = isinstance(node, self.ast.Expr) and isinstance(node.value, self.ast.Constant)
        return is_constant and isinstance(node.value.value, str)

    def _never_runs(self, node: "ast.If") -> bool:
        return getattr(node.test, "id", getattr(node.test, "attr", None)) == "TYPE_CHECKING"


class Known:
    """Syntax of files by the hash of their content; kept in memory alone where no path is given.

    Args:
        path: the file that keeps the syntax from one process to the next.
    """

    def __init__(self, path: Path | None = None):
        self.path, self.syntaxes, self.parsed = path, _read(path), False
        self.used: dict[str, Syntax] = {}

    @classmethod
    def of_the_project(cls) -> "Known":
        return cls(files.state_folder() / ".cells/code.json")

    def syntax_of(self, content: bytes) -> Syntax:
        key = hashlib.sha256(content).hexdigest()
        if key not in self.syntaxes:
            self.syntaxes[key], self.parsed = parse(content), True
        self.used[key] = self.syntaxes[key]
        return self.used[key]

    def keep(self) -> None:
        """Add the syntax that was parsed since the last call to the file, in which other processes may have written meanwhile."""
        if not self.parsed:
            return
        self.parsed = False
        if self.path is None:
            return
        everything = _read(self.path) | self.syntaxes
        syntaxes = everything if len(everything) <= MOST else self.used
        body = json.dumps({key: _plain(syntax) for key, syntax in syntaxes.items()})
        with suppress(RunError, OSError):  # a full disk, or a folder that is for reading alone
            files.write_bytes(self.path, f"{SCHEME} {_sha256(body)}\n{body}".encode())


def _plain(syntax: Syntax) -> list:
    return [syntax.digest, syntax.imports, [[table.modules, table.digest] for table in syntax.tables], syntax.file_names]


def _read(path: Path | None) -> dict[str, Syntax]:
    """The syntax that a file keeps; empty where the file is missing, damaged, or of another scheme."""
    try:
        head, body = path.read_text().split("\n", 1) if path else ("", "")
        if head != f"{SCHEME} {_sha256(body)}":
            return {}
        return {
            key: Syntax(digest, tuple(imports), tuple(Table(tuple(modules), of_table) for modules, of_table in tables), tuple(names))
            for key, (digest, imports, tables, names) in json.loads(body).items()
        }
    except (OSError, ValueError):
        return {}


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
