"""The command line of a stage: its matrix items as arguments, errors that a person can act on as one line, and its end with DVC's."""

import argparse
import atexit
import errno
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psutil

from stages.lib.errors import RunError

UNUSABLE = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT)  # a disk that is read-only or full, and no permission
WATCH_S = 1.0  # from one look at the process that started the stage to the next


def run(main: Callable[..., None], description: str, *items: str) -> None:
    """Call `main` with the arguments named `items`; what `errors_as_lines` knows becomes one line and exit status 1.

    Args:
        items: names of arguments; one that ends with `*` takes any number of values.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for item in items:
        parser.add_argument(item.rstrip("*"), nargs="*" if item.endswith("*") else None)
    if "DVC_STAGE" in os.environ:  # a stage that a person started outlives the shell, as `nohup` asks for
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    call(main, **vars(parser.parse_args()))


def call(main: Callable[..., None], **arguments: Any) -> None:
    """Call `main`; what `errors_as_lines` knows becomes one line and exit status 1.

    A process whose `__main__` defines `main` has nothing to do afterwards, and ends at once.
    """
    with errors_as_lines():
        main(**arguments)
    if main.__module__ == "__main__":
        atexit.register(_end_at_once)


@contextmanager
def errors_as_lines() -> Iterator[None]:
    """Errors that a person can act on as one line: a RunError, and a file that cannot be used where it lies."""
    try:
        yield
    except RunError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        if error.errno not in UNUSABLE or error.filename is None:
            raise
        sys.exit(f"error: {error.filename}: cannot be used: {error.strerror}")


def _end_at_once() -> None:
    """End as Python does, but take no object apart: with torch or pandas that lasts 0.4 s."""
    atexit.unregister(_end_at_once)
    atexit._run_exitfuncs()  # those that were registered before, as multiprocessing calls them in a process that it started
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _end_with(parent: int) -> None:
    """End this stage once the DVC that started it has ended: SIGTERM ends DVC alone, and the stage would go on unseen.

    What is finished is kept, as after any kill. The follower of the journal ends by itself, when it has sent how the stage ended.
    """
    while os.getppid() == parent:
        time.sleep(WATCH_S)
    print("error: the process that started this stage has ended; `dvc repro` goes on from here", file=sys.stderr, flush=True)
    for child in psutil.Process().children():
        with suppress(psutil.Error):
            if "--follow" not in child.cmdline():
                child.terminate()
    os._exit(143)  # as after SIGTERM
