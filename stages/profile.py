"""params.yaml from profiles: `python -m stages.profile embedded-utrera` first prints each setting that changes, then writes the file.

Reads profiles/*.yaml, of which each holds only settings that differ from profiles/base.yaml; several may be named together.
`--show` writes nothing: it prints how the named profiles, or with no name params.yaml, differ from the default.
With no argument at all, the profiles that exist are listed.
"""

import argparse
import sys
from contextlib import suppress
from typing import Any

from stages.lib import command
from stages.lib.errors import RunError
from stages.lib.settings import overlays, params, written
from stages.lib.settings.params import PARAMS
from stages.lib.store import files
from stages.studies import registry


def main(names: list[str], show: bool) -> None:
    if not names and not show:
        print("\n".join(listed()))
        return
    default = overlays.merged([overlays.DEFAULT])
    if not names:
        print_changes(default, params.read_yaml(PARAMS))
        return
    overlays.load(names, kind=registry.Params)
    if show:
        print_changes(default, overlays.merged(names))
        return
    text = written.text_of(names)
    for line in changed(present(), overlays.merged(names)):
        print(f"{PARAMS}: {line}", file=sys.stderr)
    files.write_bytes(PARAMS, text.encode())


def listed() -> list[str]:
    """Each profile with the first line of its comments."""
    names = overlays.available()
    width = max(map(len, names), default=0)
    headers = [written.notes_of(overlays.path_of(name).read_text()).header for name in names]
    return [f"{name:<{width}}  {header[0].lstrip('# ') if header else ''}".rstrip() for name, header in zip(names, headers, strict=True)]


def print_changes(below: dict, above: dict) -> None:
    print("\n".join(changed(below, above)) or "nothing differs")


def changed(below: dict, above: dict) -> list[str]:
    """A line for each key that differs, with both values."""
    differing = overlays.changes(below, above)
    width = max((len(key) for key, _, _ in differing), default=0)
    return [f"{key:<{width}}  {shown(old)} -> {shown(new)}" for key, old, new in differing]


def shown(value: Any) -> str:
    return written.inline(value) or "nothing"


def present() -> dict:
    """The settings that params.yaml holds; none where it is missing or cannot be read."""
    try:
        return params.read_yaml(PARAMS)
    except RunError as error:
        print(f"{error}; it is written anew", file=sys.stderr)
        return {}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="a profile, as in profiles/NAME.yaml")
    parser.add_argument("--show", action="store_true", help="show what differs, and write nothing")
    with suppress(BrokenPipeError):  # of a reader that has seen enough, such as `head`
        command.call(main, **vars(parser.parse_args()))
