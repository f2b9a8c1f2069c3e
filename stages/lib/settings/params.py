"""Settings: params.yaml and the two catalogs, read into typed objects that refuse what they do not know.

`params.yaml` says what to run (`sections`), `models/catalog.yaml` and `data/catalog.yaml` say what exists (`catalog`, and
`datasets.catalog`). A stage calls `section` once, in its `main`, for its own keys; the stage `check` reads everything at once,
before any other stage runs.
"""

import difflib
import math
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
MOST_VALUES = 100_000  # of a file, once its aliases are written out
LONGEST_SHOWN = 200  # letters of a value that is not allowed
KINDS = {list: "a list", str: "text", int: "a number", float: "a number", bool: "true or false", bytes: "binary data", set: "a set"}


class SettingsError(RunError):
    """An error of a setting that cannot be run: it names the file, the key, its value and what is allowed."""


def load_params(path: Path = PARAMS, kind: type[Params] = Params) -> Params:
    """params.yaml as a whole; `kind` may hold more sections than those that every configuration has."""
    return parse(kind, read_yaml(path), path)


def section(name: str, path: Path = PARAMS, kind: type[Params] = Params) -> Any:
    """One top-level key of params.yaml, as its typed object."""
    content = _read(path)
    if name not in content:
        raise SettingsError(f"{path}: {name} is missing")
    field = kind.model_fields[name]
    annotation = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    return parse(annotation, deepcopy(content[name]), path, name)


def value_for(n_images: int, whole: bool, key: str, values: dict[int | str, Any]) -> Any:
    """The value, for a subset of `n_images`, of a setting that differs by size; `whole`: these are all training images."""
    try:
        return by_size(values, n_images, whole)
    except KeyError:
        first = min(size for size in values if size != "all")
        raise SettingsError(f"{PARAMS}: {key} holds from {first} images on; allowed: from {n_images} or fewer, a subset's size") from None


def source_entry(name: str, path: Path = MODEL_CATALOG) -> catalog.AnySource:
    return parse(catalog.AnySource, entry_of(name, path), path, name)


def entry_of(name: str, path: Path) -> object:
    """An entry of a catalog, as it is written there."""
    entries = _read(path)
    if name not in entries:
        raise SettingsError(f"{path}: {name!r} is in no entry; allowed: {choices(name, entries)}")
    return deepcopy(entries[name])


def entry_names(path: Path) -> list[str]:
    """The names of a catalog's entries."""
    return list(_read(path))


def unknown(key: str, names: list[str], allowed: list[str], where: object) -> list[str]:
    """A line for each name in the setting `key` that is not allowed; `where` says where the allowed names stand."""
    return [f"{PARAMS}: {key}: {name!r} is not in {where}; allowed: {choices(name, allowed)}" for name in names if name not in allowed]


def read_yaml(path: Path) -> dict:
    """A file of settings, which the caller may change."""
    return deepcopy(_read(path))


def _read(path: Path) -> dict:
    """A file of settings, shared by all who read the same text: to copy a whole catalog takes longer than to check one of its entries."""
    try:
        content = _loaded(path.read_text())
    except FileNotFoundError:
        raise SettingsError(f"{path}: the file is missing") from None
    except RecursionError:
        raise SettingsError(f"{path}: not YAML of settings: values stand too deep within one another") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: not UTF-8
        raise SettingsError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if content is None:
        raise SettingsError(f"{path}: is empty; allowed: keys with values")
    if not isinstance(content, dict):
        raise SettingsError(f"{path}: holds {KINDS[type(content)]}; allowed: keys with values")
    return content


SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # a tenth of the time, where libyaml is there


class _Strict(SafeLoader):
    """A loader that refuses a key that is there twice, of which YAML would silently take the last, and aliases that multiply.

    A date is text, as no setting is one.
    """

    yaml_constructors = SafeLoader.yaml_constructors | {"tag:yaml.org,2002:timestamp": SafeLoader.construct_yaml_str}

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None and _expanded(node, {}) > MOST_VALUES:
            raise yaml.constructor.ConstructorError(None, None, f"its aliases make more than {MOST_VALUES} values", node.start_mark)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"the key {key.value!r} is there twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _expanded(node: yaml.Node, known: dict[int, float]) -> float:
    """How many values a node holds once its aliases are written out: infinitely many where one stands within itself."""
    if id(node) not in known:
        known[id(node)] = math.inf
        parts = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
        known[id(node)] = 1 + sum(_expanded(part, known) for part in parts if isinstance(part, yaml.Node))
    return known[id(node)]


@lru_cache(maxsize=8)  # a catalog is read again for each of its entries
def _loaded(text: str) -> object:
    return yaml.load(text, _Strict)


def parse(kind: Any, content: object, path: Path | Callable[[tuple], Path], prefix: str = "") -> Any:
    """`content` as an object of type `kind`; raises SettingsError with one line for all that is wrong with it.

    Args:
        path: the file that `content` comes from; or, where there are several, a function from a place, as pydantic gives it, to its file.
    """
    file_of = path if callable(path) else lambda place: path
    try:
        return _adapter(kind).validate_python(content)
    except ValidationError as error:
        lines = dict.fromkeys(f"{file_of(e['loc'])}: {_explain(e, prefix, kind, content)}" for e in error.errors())
        raise SettingsError("; ".join(lines)) from None


@lru_cache(maxsize=64)  # one for each kind of entry and section, as it is made anew from the annotations each time
def _adapter(kind: Any) -> TypeAdapter:
    return TypeAdapter(kind)


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
    return f"{key} is {_shown(error['input'])}; allowed: {_allowed(error)}"


def _allowed(error: dict) -> str:
    """What one of pydantic's errors says that is allowed; it names no type of the code."""
    context = error.get("ctx", {})
    match error["type"]:
        case "union_tag_not_found":
            return f"keys with values, of which {context['discriminator']} says what it is"
        case "union_tag_invalid":
            return f"as its {context['discriminator'].strip(chr(39))}: {context['expected_tags']}"
        case "model_type" | "model_attributes_type" | "dict_type":
            return "keys with values"
    return error["msg"].removeprefix("Value error, ").removeprefix("Input should be ").removeprefix("Input should ")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]} and so on"


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
