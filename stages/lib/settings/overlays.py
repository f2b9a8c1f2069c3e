"""Profiles: files that hold only what differs from `profiles/base.yaml`, merged into all settings.

Mappings are merged key by key; a mapping of another `kind` replaces the one below it, and so does any other value, such as one that
depends on the number of images ({from_25: 10, from_100: 20}) or on the source ({random: 0.02, others: 0.05}). A profile may list others
under `profiles:`. Profiles that are used together are first merged with one another: the lists that say what is brought and compared
are joined, and a key on which two of them disagree is an error. The result is laid over the base.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from stages.lib.settings import params
from stages.lib.settings.fields import Name, is_by_size, is_by_source
from stages.lib.settings.params import SettingsError
from stages.lib.settings.sections import Params

FOLDER = Path("profiles")
BASE = "base"  # holds all settings
DEFAULT = "default"  # what params.yaml holds as it is checked out
INCLUDES = "profiles"  # the key under which a profile lists others
JOINED = {"datasets", "models", "sources", "targets", "experiments"}  # lists of which profiles that are used together each add some


@dataclass(frozen=True)
class Setting:
    """A value that is no mapping with keys, and the file that says it; of a joined list the file of each of its items."""

    value: Any
    path: Path
    of_items: tuple[Path, ...] = ()


Tree = dict[str, "Tree | Setting"]


def merged(names: list[str], folder: Path = FOLDER) -> dict:
    """The whole settings of the profiles over the base, as plain values; those of the base alone where none is named."""
    return _values(tree(names, folder))


def load(names: list[str], folder: Path = FOLDER, kind: type[Params] = Params) -> Params:
    """The merged settings as a typed object; each error names the file that says the key."""
    whole = tree(names, folder)
    last = path_of(names[-1] if names else BASE, folder)
    return params.parse(kind, _values(whole), lambda place: _file_of(whole, place) or last)


def tree(names: list[str], folder: Path = FOLDER) -> Tree:
    """The merged settings, each with the file that says it."""
    base = _with_files(params.read_yaml(path_of(BASE, folder)), path_of(BASE, folder))
    return _laid_over(base, _together([_expanded(name, folder) for name in _without_base(names)]))


def available(folder: Path = FOLDER) -> list[str]:
    """The names of all profiles, the default first."""
    return sorted((path.stem for path in folder.glob("*.yaml")), key=lambda name: (name != DEFAULT, name))


def path_of(name: str, folder: Path = FOLDER, said_by: str = "") -> Path:
    """The file of a profile; where there is none, raises SettingsError, which begins with `said_by`, the place that names the profile."""
    if name not in (names := available(folder)):
        raise SettingsError(f"{said_by}{name!r} is no profile in {folder}/; allowed: {params.choices(name, names)}")
    return folder / f"{name}.yaml"


def files_of(names: list[str], folder: Path = FOLDER) -> list[Path]:
    """The files of the base, of the profiles and of those that these list, each after those that it is laid over."""
    paths = [path_of(BASE, folder)]
    for name in _without_base(names):
        path = path_of(name, folder)
        paths += [*files_of(_included(path, params.read_yaml(path)), folder), path]
    return list(dict.fromkeys(paths))


def changes(below: Any, above: Any, place: str = "") -> list[tuple[str, Any, Any]]:
    """Each key, with dots, whose value differs, with both values; None stands for a key that is not there, too."""
    if _has_keys(below) and _has_keys(above):
        keys = [*below, *(key for key in above if key not in below)]
        inner = [changes(below.get(key), above.get(key), f"{place}.{key}" if place else str(key)) for key in keys]
        return [change for part in inner for change in part]
    if _has_keys(above) and above and below is None:
        return changes({}, above, place)
    if _has_keys(below) and below and above is None:
        return changes(below, {}, place)
    return [] if below == above else [(place, below, above)]


def _without_base(names: list[str]) -> list[str]:
    return [name for name in dict.fromkeys(names) if name != BASE]


def _expanded(name: str, folder: Path, said_by: str = "", above: tuple[str, ...] = ()) -> Tree:
    """A profile laid over those that it lists; `above` are the profiles that list it, directly or not."""
    if name in above:
        raise SettingsError(f"{said_by}{name!r} includes itself: {' -> '.join([*above[above.index(name) :], name])}")
    path = path_of(name, folder, said_by)
    content = params.read_yaml(path)
    included = [_expanded(other, folder, f"{path}: {INCLUDES}: ", (*above, name)) for other in _included(path, content)]
    content.pop(INCLUDES, None)
    return _laid_over(_together(included), _with_files(content, path))


def _included(path: Path, content: dict) -> list[str]:
    """The names of the profiles that a profile lists."""
    names = content.get(INCLUDES, [])
    try:
        TypeAdapter(list[Name]).validate_python(names)
    except ValidationError:
        raise SettingsError(f"{path}: {INCLUDES} is {names!r}; allowed: a list of names of profiles") from None
    return _without_base(names)


def _with_files(content: dict, path: Path) -> Tree:
    return {key: _with_files(value, path) if _has_keys(value) and value else Setting(value, path) for key, value in content.items()}


def _has_keys(value: Any) -> bool:
    """Whether a value is a mapping whose keys are settings, and not one value for each number of images, or for each source."""
    return isinstance(value, dict) and not is_by_size(value) and not is_by_source(value)


def _values(whole: Tree) -> dict:
    return {key: _values(node) if isinstance(node, dict) else node.value for key, node in whole.items()}


def _laid_over(below: Tree, above: Tree) -> Tree:
    """The settings of both; where both have a key, that of `above`."""
    result = dict(below)
    for key, node in above.items():
        here = below.get(key)
        if isinstance(here, dict) and isinstance(node, dict) and not _of_another_kind(here, node):
            result[key] = _laid_over(here, node)
        elif not (isinstance(here, dict) and _is_empty(node)):  # no key of an empty mapping differs
            result[key] = node
    return result


def _of_another_kind(below: Tree, above: Tree) -> bool:
    kinds = [node.value if isinstance(node := side.get("kind"), Setting) else None for side in (below, above)]
    return "kind" in above and kinds[0] != kinds[1]


def _is_empty(node: Tree | Setting) -> bool:
    return isinstance(node, Setting) and node.value == {}


def _together(trees: list[Tree]) -> Tree:
    result: Tree = {}
    for one in trees:
        result = _joined(result, one)
    return result


def _joined(first: Tree, second: Tree, place: str = "") -> Tree:
    """The settings of two profiles that are used together; raises SettingsError where they disagree."""
    result = dict(first)
    for key, node in second.items():
        here = first.get(key)
        if here is None or _is_empty(here):
            result[key] = node
        elif isinstance(here, dict) and isinstance(node, dict):
            result[key] = _joined(here, node, f"{place}{key}.")
        elif not place and key in JOINED and isinstance(here, Setting) and isinstance(node, Setting):
            result[key] = _joined_lists(here, node)
        elif not _is_empty(node) and not (isinstance(here, Setting) and isinstance(node, Setting) and here.value == node.value):
            raise SettingsError(_disagreement(f"{place}{key}", here, node))
    return result


def _joined_lists(first: Setting, second: Setting) -> Setting:
    items, paths = [], []
    for setting in (first, second):
        added = setting.value if isinstance(setting.value, list) else [setting.value]
        for item, path in zip(added, setting.of_items or [setting.path] * len(added), strict=True):
            if item not in items:
                items.append(item)
                paths.append(path)
    return Setting(items, second.path, tuple(paths))


def _disagreement(key: str, first: Tree | Setting, second: Tree | Setting) -> str:
    (path, value), (other_path, other_value) = (
        (_any_file(node), _values(node) if isinstance(node, dict) else node.value) for node in (second, first)
    )
    return f"{path}: {key} is {value!r}, and {other_path} says {other_value!r}; allowed: profiles that agree, or one of the two"


def _file_of(whole: Tree, place: tuple) -> Path | None:
    """The file that holds the setting at a place: a path of keys as pydantic gives it, in which names of types may stand, too."""
    node: Tree | Setting = whole
    for part in place:
        if isinstance(node, Setting):
            return node.of_items[part] if isinstance(part, int) and part < len(node.of_items) else node.path
        node = node.get(part, node)
    return node.path if isinstance(node, Setting) else _any_file(node)


def _any_file(node: Tree | Setting) -> Path | None:
    """The file that says a setting, or the last one of those that say the keys of a mapping."""
    if isinstance(node, Setting):
        return node.path
    return next((path for child in reversed(node.values()) if (path := _any_file(child))), None)
