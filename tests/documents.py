"""README.md and docs/ as data: their blocks, commands, links, tables, and what stands in backticks; and what they may name."""

import re
import shlex
import subprocess
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path

from repository import ROOT

from stages.lib.settings import overlays, params

FENCE = "```"
PROGRAMS = ("dvc", "git", "make", "pip", "python", "ray", "rm", "sbatch", "torchrun")  # a command in backticks begins with one


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """The lines of a console block without their prompt; raises ValueError for a line that has none."""
        lines = [line for line in self.text.splitlines() if line]
        if wrong := [line for line in lines if not line.startswith("$ ")]:
            raise ValueError(f"{self}: {wrong[0]!r} is no command; allowed: lines that begin with $")
        return [line.removeprefix("$ ") for line in lines]


class Page:
    """A page of Markdown."""

    def __init__(self, path: Path):
        self.path, self.name = path, path.relative_to(ROOT).as_posix()
        self.text = path.read_text()
        self.blocks, prose, opened, inside = [], [], None, []
        for number, line in enumerate(self.text.splitlines(), 1):
            if not line.startswith(FENCE):
                (prose if opened is None else inside).append(line)
            elif opened is None:
                opened, inside = (number, line.removeprefix(FENCE)), []
            else:
                self.blocks.append(Block(self.name, *opened, "\n".join(inside)))
                opened = None
        if opened is not None:
            raise ValueError(f"{self.name}:{opened[0]}: this block has no end")
        self.prose = "\n".join(prose)

    @cached_property
    def in_backticks(self) -> list[str]:
        return [" ".join(text.split()) for text in re.findall(r"`([^`]+)`", self.prose)]

    @cached_property
    def links(self) -> list[str]:
        return [target.strip() for target in re.findall(r"\]\(([^)]+)\)", self.prose)]

    @cached_property
    def anchors(self) -> set[str]:
        """What links lead to a heading by, as Git hosts make it from the words."""
        headings = re.findall(r"^#+ (.+)$", self.prose, re.MULTILINE)
        return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}

    @cached_property
    def tables(self) -> list[list[list[str]]]:
        """Rows of cells, the first of which is the head."""
        tables, last = [], ""
        for line in self.prose.splitlines():
            if line.startswith("|"):
                if not last.startswith("|"):
                    tables.append([])
                if not re.fullmatch(r"[|\- ]+", line) or not line.count("---"):
                    tables[-1].append([cell.strip() for cell in line.strip("|").split("|")])
            last = line
        return tables

    @property
    def commands(self) -> list[tuple[str, str]]:
        """Where each command stands, and what it is: of console blocks, and in backticks."""
        of_blocks = [(str(block), command) for block in self.blocks if block.language == "console" for command in block.commands]
        return of_blocks + [(self.name, text) for text in self.in_backticks if " " in text and text.split()[0] in PROGRAMS]


PAGES = [Page(path) for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))]
BLOCKS = [block for page in PAGES for block in page.blocks]
CODE = "\n".join(path.read_text() for path in sorted((ROOT / "stages").rglob("*.py")))
TRACKED = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
TRACKED += [page.name for page in PAGES if page.name not in TRACKED]  # a page that is not yet committed
STAGES = params.read_yaml(ROOT / "dvc.yaml")["stages"]
DATASETS, SOURCES = (params.read_yaml(ROOT / name) for name in ("data/catalog.yaml", "models/catalog.yaml"))
PROFILES = overlays.available(ROOT / "profiles")


def words_of(command: str) -> list[str]:
    """The words of a command, without its comment and the variables that are set before it."""
    words = shlex.split(command, comments=True)
    while re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    return words


def bare(command: str) -> str:
    """A command as text, without its comment and the variables that are set before it."""
    return shlex.join(words_of(command))


def names_in(cell: str) -> list[str]:
    """What stands in backticks in a cell of a table."""
    return re.findall(r"`([^`]+)`", cell)


def exists(text: str) -> bool:
    pattern = re.sub(r"<\w+>", "*", text)
    return any(fnmatch(name, pattern) or fnmatch(name, f"{pattern.rstrip('/')}/*") for name in TRACKED)


def is_generated(text: str) -> bool:
    """Git ignores it. A table or a figure of the report has its name in the code, too."""
    path = Path(re.sub(r"<\w+>", "x", text))
    ignored = subprocess.run(["git", "check-ignore", path, path / "x"], cwd=ROOT, capture_output=True, check=False).returncode == 0
    return ignored and (path.suffix != ".csv" or f'"{path.stem}":' in CODE)
