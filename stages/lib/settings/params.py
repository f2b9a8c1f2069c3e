"""Settings: params.yaml and the two catalogs, read into typed objects that refuse what they do not know.

`params.yaml` says what to run (`sections`), `models/catalog.yaml` and `data/catalog.yaml` say what exists (`catalog`, and
`datasets.catalog`). A stage calls `section` once, in its `main`, for its own keys; the stage `check` reads everything at once,
before any other stage runs.
"""

import difflib
from collections.abc import Callable
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import TypeAdapter, ValidationError

from stages.lib.errors import RunError
from stages.lib.settings import catalog
from stages.lib.settings.fields import by_size
from stages.lib.settings.sections import Params

PARAMS = Path("params.yaml")
DATA_CATALOG = Path("data/catalog.yaml")
MODEL_CATALOG = Path("models/catalog.yaml")
MOST_SHOWN = 16  # names in a line that says what is allowed


class SettingsError(RunError):
    """An error of a setting that cannot be run: it names the file, the key, its value and what is allowed."""


def load_params(path: Path = PARAMS, kind: type[Params] = Params) -> Params:
    """params.yaml as a whole; `kind` may hold more sections than those that every configuration has."""
    return parse(kind, read_yaml(path), path)


def section(name: str, path: Path = PARAMS, kind: type[Params] = Params) -> Any:
    """One top-level key of params.yaml, as its typed object."""
    content = read_yaml(path)
    if name not in content:
        raise SettingsError(f"{path}: {name} is missing")
    field = kind.model_fields[name]
    return parse(Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation, content[name], path, name)


def value_for(n_images: int, whole: bool, key: str, values: dict[int | str, Any]) -> Any:
    """The value, for a subset of `n_images`, of a setting that differs by size; `whole`: these are all training images."""
    try:
        return by_size(values, n_images, whole)
    except KeyError:
        first = min(size for size in values if size != "all")
        raise SettingsError(f"{PARAMS}: {key} holds from {first} images on; allowed: from {n_images} or fewer, a subset's size") from None


def source_entry(name: str, path: Path = MODEL_CATALOG) -> catalog.AnySource:
    return parse(catalog.AnySource, entry_of(read_yaml(path), name, path), path, name)


def entry_of(entries: dict, name: str, path: Path) -> object:
    if name not in entries:
        raise SettingsError(f"{path}: {name!r} is in no entry; allowed: {choices(name, entries)}")
    return entries[name]


def entry_names(path: Path) -> list[str]:
    """The names of a catalog's entries."""
    return list(read_yaml(path))


def unknown(key: str, names: list[str], allowed: list[str], where: object) -> list[str]:
    """A line for each name in the setting `key` that is not allowed; `where` says where the allowed names stand."""
    return [f"{PARAMS}: {key}: {name!r} is not in {where}; allowed: {choices(name, allowed)}" for name in names if name not in allowed]


def read_yaml(path: Path) -> dict:
    try:
        content = _loaded(path.read_text())
    except FileNotFoundError:
        raise SettingsError(f"{path}: the file is missing") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: not UTF-8, or a date that does not exist
        raise SettingsError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise SettingsError(f"{path}: holds {type(content).__name__}; allowed: keys with values")
    return deepcopy(content)  # the text is parsed once, and a caller may change what it gets


class _UniqueKeys(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # a tenth of the time, where libyaml is there
    """A loader that refuses a key that is there twice, as YAML would silently take the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"the key {key.value!r} is there twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


@lru_cache(maxsize=8)  # a catalog is read again for each of its entries
def _loaded(text: str) -> object:
    return yaml.load(text, _UniqueKeys)


def parse(kind: Any, content: object, path: Path | Callable[[tuple], Path], prefix: str = "") -> Any:
    """`content` as an object of type `kind`; raises SettingsError with one line for all that is wrong with it.

    Args:
        path: the file that `content` comes from; or, where there are several, a function from a place, as pydantic gives it, to its file.
    """
    file_of = path if callable(path) else lambda place: path
    try:
        return TypeAdapter(kind).validate_python(content)
    except ValidationError as error:
        lines = dict.fromkeys(f"{file_of(e['loc'])}: {_explain(e, prefix, kind, content)}" for e in error.errors())
        raise SettingsError("; ".join(lines)) from None


def _explain(error: dict, prefix: str, kind: Any, content: object) -> str:
    """One of pydantic's errors in this project's words: the key, its value, and what is allowed."""
    place = _written(error["loc"], content)
    if error["type"] == "missing":
        place.append(error["loc"][-1])
    key = ".".join([*([prefix] if prefix else []), *map(str, place)])
    if error["type"] == "missing":
        return f"{key} is missing"
    if error["type"] == "extra_forbidden":
        return f"{key} is no known key; allowed: {choices(str(place[-1]), _siblings(kind, error['loc'][:-1]))}"
    allowed = error["msg"].removeprefix("Value error, ").removeprefix("Input should be ").removeprefix("Input should ")
    return f"{key} is {error['input']!r}; allowed: {allowed}"


def _written(place: tuple, content: object) -> list[str | int]:
    """The steps of a place that were written: not the members of unions that pydantic tried, nor keys that a single value was given."""
    steps = []
    for step in place:
        allowed = content if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else ()
        if step in allowed:
            steps.append(step)
            content = content[step]
    return steps


def _siblings(kind: Any, place: tuple) -> list[str]:
    """The keys that are allowed in the place of an unknown key, read from the schema; empty where no object stands there."""
    schema = TypeAdapter(kind).json_schema(ref_template="{model}")
    definitions = schema.get("$defs", {})

    def resolve(node: dict) -> dict:
        return definitions[node["$ref"]] if "$ref" in node else node

    node = resolve(schema)
    for part in place:
        mapping = node.get("discriminator", {}).get("mapping", {})
        if part in mapping:
            member = mapping[part]
            node = member if isinstance(member, dict) else definitions[member]  # a union within a union has no name
            continue
        if part in node.get("properties", {}):
            node = node["properties"][part]
            options = [resolve(o) for o in node.get("anyOf", [])]
            node = resolve(next((o for o in options if "properties" in o), node))
    return list(node.get("properties", {}))


def choices(name: str, allowed: list[str] | dict) -> str:
    """The names that are allowed, the first few of many, and the allowed name that is most like `name`."""
    names = [str(each) for each in allowed]
    close = difflib.get_close_matches(name, names, n=1)
    shown = names if len(names) <= MOST_SHOWN else [*names[:MOST_SHOWN], f"and {len(names) - MOST_SHOWN} more"]
    return ", ".join(shown) + (f" (did you mean {close[0]!r}?)" if close else "")
