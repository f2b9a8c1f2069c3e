"""The command line of a stage: its matrix items as arguments, and errors that a person can act on as one line."""

import argparse
import sys
from collections.abc import Callable

from stages.lib.errors import RunError


def run(main: Callable[..., None], description: str, *items: str) -> None:
    """Call `main` with the arguments named `items`; a RunError becomes one line and exit status 1.

    Args:
        items: names of arguments; one that ends with `*` takes any number of values.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for item in items:
        parser.add_argument(item.rstrip("*"), nargs="*" if item.endswith("*") else None)
    try:
        main(**vars(parser.parse_args()))
    except RunError as error:
        sys.exit(f"error: {error}")
