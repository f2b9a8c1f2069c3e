"""Processes that tests start, found again by a mark in their environment, so that none outlives the tests however these end.

Children inherit the mark, those that became daemons or lead a session of their own too, as a queue worker of DVC and Ray do.
"""

import multiprocessing
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

import psutil

MARK = "STARTED_BY_A_TEST"  # in the environment: the suite, and within it the family


def marked(mark: str) -> list[psutil.Process]:
    """Processes with this mark, or with one that begins with it; without this one."""
    family = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(MARK, "").startswith(mark):
                family.append(process)
        except psutil.Error:  # it has ended, or is another user's
            continue
    return family


def kill(mark: str) -> None:
    """Kill those processes, and whatever they start meanwhile, until none is found twice: a process that begins has no environment yet."""
    quiet = 0
    while quiet < 2:
        family = marked(mark)
        quiet = 0 if family else quiet + 1
        for process in family:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        time.sleep(0.02)


@contextmanager
def family() -> Iterator[dict[str, str]]:
    """The environment of processes that end with the `with` block, at the latest."""
    mark = f"{os.environ.get(MARK, '')}/{uuid.uuid4()}"
    try:
        yield {MARK: mark}
    finally:
        kill(mark)


@contextmanager
def watched() -> Iterator[None]:
    """Whatever this process starts from now on ends when it ends, even if it is killed: another process waits for that."""
    environment = {name: value for name, value in os.environ.items() if name != MARK}
    mark = os.environ[MARK] = str(uuid.uuid4())
    command = [sys.executable, __file__, mark]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, start_new_session=True) as watcher:
        yield
        watcher.stdin.close()


def forked(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns in a process of its own, forked from the server that holds torch, so that it starts at once."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("forkserver")) as executor:
        return executor.submit(function, *arguments).result()


if __name__ == "__main__":
    sys.stdin.read()  # ends when the process that holds the other end does
    kill(sys.argv[1])
