"""The command line of a stage: items as arguments, and an error that a person can act on as one line."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

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
