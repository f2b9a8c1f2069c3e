"""The command line of a stage: items as arguments, and an error that a person can act on as one line."""

import errno
import os
import subprocess
import sys
import textwrap
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from stages.lib import command
from stages.lib.errors import RunError

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = """
    from stages.lib import command
    from stages.lib.errors import RunError

    def main(source):
        raise RunError(f"params.yaml: {source} is wrong")

    command.run(main, "What it does.", "source")
"""


def test_items_arrive_by_their_names(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["stage", "natural", "digits"])
    seen = []
    command.run(lambda source, target: seen.append((source, target)), "", "source", "target")
    assert seen == [("natural", "digits")]


def test_an_error_is_one_line_on_stderr_and_exit_status_1():
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    run = [sys.executable, "-c", textwrap.dedent(SCRIPT), "natural"]
    found = subprocess.run(run, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (found.returncode, found.stdout, found.stderr) == (1, "", "error: params.yaml: natural is wrong\n")


def test_a_file_that_cannot_be_used_is_one_line_and_a_missing_one_keeps_its_traceback(capsys):
    with pytest.raises(SystemExit) as caught, command.errors_as_lines():
        raise OSError(errno.EROFS, "Read-only file system", "/mine/.runs/experiments")
    assert caught.value.code == "error: /mine/.runs/experiments: cannot be used: Read-only file system"
    with pytest.raises(FileNotFoundError), command.errors_as_lines():
        open("/mine/nowhere")  # noqa: SIM115  it does not open
    with pytest.raises(OSError, match="5"), command.errors_as_lines():
        raise OSError(errno.EIO, "I/O error", "/mine")


def test_any_other_error_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["stage"])
    with pytest.raises(ZeroDivisionError):
        command.run(lambda: 1 // 0, "")


@pytest.mark.parametrize("arguments", [[], ["natural", "digits"], ["--source"]])
def test_wrong_arguments_are_refused_before_anything_runs(monkeypatch, capsys, arguments):
    monkeypatch.setattr(sys, "argv", ["stage", *arguments])
    seen = []
    with pytest.raises(SystemExit) as error:
        command.run(lambda **items: seen.append(items), "", "source")
    assert error.value.code == 2
    assert "usage: stage" in capsys.readouterr().err
    assert seen == []


def test_the_error_is_told_apart_by_its_type_alone(monkeypatch):
    class SpecialError(RunError):
        pass

    def main() -> None:
        raise SpecialError("x")

    monkeypatch.setattr(sys, "argv", ["stage"])
    with pytest.raises(SystemExit, match="error: x"):
        command.run(main, "")


ENDED = """
    import atexit, sys
    from stages.lib import command

    atexit.register(print, "what was registered first")

    class Kept:
        def __del__(self):
            print("taken apart")

    kept = Kept()

    def main():
        atexit.register(print, "what main registered")
        print("main")
        print("said", file=sys.stderr)

    command.run(main, "What it does.")
"""


def test_a_stage_that_has_ended_well_has_written_and_cleaned_up_and_takes_nothing_apart():
    run = [sys.executable, "-c", textwrap.dedent(ENDED)]
    found = subprocess.run(run, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60, check=False)
    assert (found.returncode, found.stderr) == (0, "said\n")
    assert found.stdout.splitlines() == ["main", "what main registered", "what was registered first"]


PARENT = """
    import os, subprocess, sys
    child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE)
    child.stdout.readline()  # it is in its `main`
    print(child.pid, flush=True)
    os.kill(os.getpid(), 15)
"""
STAGE = """
    import time
    from stages.lib import command

    def main():
        print("begun", flush=True)
        time.sleep(60)

    command.run(main, "What it does.")
"""


@pytest.mark.parametrize(("of_dvc", "ends"), [({"DVC_STAGE": "finetune@natural"}, True), ({}, False)])
def test_a_stage_of_dvc_ends_with_dvc_and_one_that_a_person_started_goes_on(of_dvc, ends):
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | of_dvc
    run = [sys.executable, "-c", textwrap.dedent(PARENT), textwrap.dedent(STAGE)]
    with subprocess.Popen(run, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as parent:
        stage = psutil.Process(int(parent.stdout.readline()))
        try:
            if ends:
                stage.wait(timeout=30)
                assert "error: the process that started this stage has ended" in parent.stderr.read()
            else:
                parent.wait(timeout=30)
                with pytest.raises(psutil.TimeoutExpired):
                    stage.wait(timeout=2 * command.WATCH_S)
        finally:
            with suppress(psutil.NoSuchProcess):
                stage.kill()
