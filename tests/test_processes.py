"""What tests start ends with them."""

import subprocess
import sys
import textwrap
import time

import processes
import psutil
import pytest
from repository import ROOT

STARTS_ONE = """
    import os, subprocess, sys
    import processes
    with processes.watched():
        subprocess.Popen(["sleep", "600"], start_new_session=True)
        print(os.environ[processes.MARK], flush=True)
        sys.stdin.read()
"""


@pytest.mark.parametrize("end", ["kill", "terminate"])
def test_what_a_suite_started_ends_with_it_even_when_it_is_killed(end):
    command = [sys.executable, "-c", textwrap.dedent(STARTS_ONE)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT / "tests", text=True, **pipes) as suite:
        mark, deadline = suite.stdout.readline().strip(), time.monotonic() + 20
        while not (family := processes.marked(mark)) and time.monotonic() < deadline:
            time.sleep(0.01)  # a process that begins has no environment yet
        [sleeper] = family
        getattr(suite, end)()
    assert psutil.wait_procs([sleeper], timeout=20)[1] == []


def test_a_family_ends_with_its_block_and_others_stay():
    with processes.family() as outer:
        other = subprocess.Popen(["sleep", "60"], env=outer)
        with processes.family() as inner:
            ended = subprocess.Popen(["sleep", "60"], env=inner, start_new_session=True)
        assert ended.wait(20) == -9
        assert other.poll() is None
    assert other.wait(20) == -9
