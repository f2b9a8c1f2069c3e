"""params.yaml as text, in the form in which DVC writes it back, so that `dvc exp run -S` changes the lines of one key and no others.

DVC writes lists over several lines, nothing in the place of `null`, and it keeps mappings in braces, comments at the end of a line and
lines of comments above a key. What stands between the last item of a list and the next key is lost: so nothing is written there. And
where a list that has a comment becomes empty, it runs the next line that has none into the line below, which no reader understands.
So each key with lines below it gets a comment, an empty one where no file says any; and what follows a list that may be empty, up to
the next list, has comments in the profiles.
"""

import io
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import RoundTripRepresenter

from stages.lib.settings import overlays, params

WIDTH = 80  # columns; DVC breaks a longer mapping in braces
HEADER = (
    "# What to run; `make profile` writes this file. Names come from data/catalog.yaml and models/catalog.yaml; every key is checked first."
)

Place = tuple[str, ...]  # the keys from the top down to a setting


class _Numbers(RoundTripRepresenter):
    """Numbers as 1.0e-07, which every version of YAML reads as a number; some read 1e-07 as text."""

    def represent_float(self, value: float) -> ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:float", re.sub(r"^(-?\d+)e", r"\1.0e", repr(value)))

    yaml_representers = RoundTripRepresenter.yaml_representers | {float: represent_float}


@dataclass(frozen=True)
class Notes:
    """The comments of a file, and which of its mappings are in braces."""

    header: list[str] = field(default_factory=list)  # lines of comments before anything else
    above: dict[Place, list[str]] = field(default_factory=dict)  # lines of comments above a key
    beside: dict[Place, str] = field(default_factory=dict)  # the comment at the end of a key's line
    braces: dict[Place, bool] = field(default_factory=dict)  # of a mapping: whether it is written in braces


def text_of(names: list[str], folder: Path = overlays.FOLDER) -> str:
    """params.yaml with the settings of these profiles over the base; a comment of a profile takes the place of the base's."""
    values = overlays.merged(names, folder)
    files = [(path, notes_of(path.read_text())) for path in overlays.files_of(names, folder)]
    header = [HEADER]
    for path, notes in files:
        if path.stem not in (overlays.BASE, overlays.DEFAULT):
            header += ["#", f"# Profile {path.stem}:", *notes.header]
    notes = Notes(
        above={place: lines for _, one in files for place, lines in one.above.items()},
        beside={place: comment for _, one in files for place, comment in one.beside.items()},
        braces={place: braces for _, one in files for place, braces in one.braces.items()},
    )
    body = _with_blank_lines(_lines(values, notes))
    return _as_dvc_writes("\n".join([*header, *body, ""]))


def notes_of(text: str) -> Notes:
    """The comments of a file, and which of its mappings are in braces."""
    lines = text.splitlines()
    notes = Notes(header=_comments_from(lines, 0))
    if isinstance(root := yaml.compose(text, params.SafeLoader), yaml.MappingNode):
        _collect(root, lines, (), notes)
    return notes


def inline(value: Any) -> str:
    """A value on one line, as DVC would write it; nothing for null."""
    if value is None:
        return ""
    stream = io.StringIO()
    writer = YAML()
    writer.Representer = _Numbers
    writer.width = 10_000
    writer.dump(_in_brackets(value), stream)
    return stream.getvalue().removesuffix("...\n").strip()


def _collect(mapping: yaml.MappingNode, lines: list[str], place: Place, notes: Notes) -> None:
    for key, value in mapping.value:
        here = (*place, str(key.value))
        if not mapping.flow_style:
            on_one_line = value.value if isinstance(value, yaml.ScalarNode) else value.flow_style
            is_alias = value.start_mark.index < key.start_mark.index
            end = value.end_mark if on_one_line and not is_alias else key.end_mark
            if comment := re.match(r":?(?:\s*[&*]\w+)?\s*# ?(.*)", lines[end.line][end.column :]):
                notes.beside[here] = comment[1]
            above = _comments_from(lines[: key.start_mark.line][::-1], 0)[::-1]
            if above and len(above) < key.start_mark.line:  # else it is the header
                notes.above[here] = [line.strip() for line in above]
        if isinstance(value, yaml.MappingNode):
            notes.braces[here] = bool(value.flow_style)
            _collect(value, lines, here, notes)


def _comments_from(lines: list[str], first: int) -> list[str]:
    """The lines of comments from a line on, up to the first other line."""
    last = next((i for i in range(first, len(lines)) if not lines[i].lstrip().startswith("#")), len(lines))
    return lines[first:last]


def _lines(values: dict, notes: Notes, place: Place = ()) -> list[str]:
    indent = "  " * len(place)
    result = []
    for key, value in values.items():
        here = (*place, str(key))
        comment = f" # {notes.beside[here]}" if here in notes.beside else ""
        comment_needed = comment or " #"
        line = f"{indent}{key}: {inline(value)}".rstrip()
        result += [f"{indent}{line}" for line in notes.above.get(here, []) if not (result and result[-1].lstrip().startswith("- "))]
        if isinstance(value, dict) and value and not (notes.braces.get(here) and len(line) <= WIDTH):
            result += [f"{indent}{key}:{comment_needed}", *_lines(value, notes, here)]
        elif isinstance(value, list) and value:
            result += [f"{indent}{key}:{comment_needed}", *(f"{indent}- {inline(item)}" for item in value)]
        else:
            result.append(line + comment)
    return result


def _with_blank_lines(lines: list[str]) -> list[str]:
    """A blank line before each section of several lines, unless an item of a list stands there."""
    result: list[str] = []
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if result and not line.startswith((" ", "-", "#")) and following.startswith("  ") and not result[-1].lstrip().startswith("- "):
            result.append("")
        result.append(line)
    return result


def _in_brackets(value: Any) -> Any:
    """The value as ruamel writes it on one line."""
    if isinstance(value, dict):
        mapping = CommentedMap({key: _in_brackets(item) for key, item in value.items()})
        mapping.fa.set_flow_style()
        return mapping
    if isinstance(value, list):
        sequence = CommentedSeq([_in_brackets(item) for item in value])
        sequence.fa.set_flow_style()
        return sequence
    return value


def _as_dvc_writes(text: str) -> str:
    """The text after it was read and written by the reader and writer that DVC uses, with its options."""
    stream = io.StringIO()
    writer = YAML()
    writer.default_flow_style = False
    writer.dump(YAML().load(text), stream)
    return stream.getvalue()
