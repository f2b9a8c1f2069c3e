"""The journal of a stage: what it says, what a kill leaves of it, and how an error ends it."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from stages.lib.errors import RunError
from stages.lib.store import files, journal

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "original"))
    monkeypatch.delenv("DVC_EXP_NAME", raising=False)
    monkeypatch.setattr(journal, "LIVE_AFTER_S", 1000)  # else a slow machine starts a follower
    return tmp_path


def only_journal() -> list[dict]:
    """The events of the one journal that there is, whose stage has ended."""
    (path,) = journal.folder().glob("*.jsonl")
    events, alive = journal.reading(path)
    assert not alive
    return events


def run_stage(error: BaseException | None = None, **changes) -> None:
    arguments = {"settings": {"lr": 0.1}, "inputs": [], "outputs": []} | changes
    with journal.execution("verb", "a", "b", **arguments):
        if error is not None:
            raise error


def test_events_come_back_in_their_order(workspace, monkeypatch):
    monkeypatch.setenv("DVC_EXP_NAME", "brave-fox")
    kept = journal.Journal("verb@a", "verb")
    kept.params({"verb": {"lr": 0.1, "keep": {"blocks": [0, 1]}}})
    kept.metrics({"loss": 0.5}, 3)
    kept.cell("abc", {"seed": 1}, [(1, {"test_accuracy": 50.0})])
    kept.close("FINISHED")
    assert kept.path.parent == workspace / "original" / ".runs"
    events = only_journal()
    assert [event["event"] for event in events] == ["start", "params", "metrics", "cell", "end"]
    times = [event.pop("time_ms") for event in events]
    assert times == sorted(times)
    start, params, metrics, cell, end = events
    assert (start["name"], start["stage"], start["dvc_experiment"]) == ("verb@a", "verb", "brave-fox")
    assert params["values"] == {"verb.lr": 0.1, "verb.keep.blocks": [0, 1]}
    assert (metrics["values"], metrics["step"]) == ({"loss": 0.5}, 3)
    assert (cell["key"], cell["params"], cell["history"]) == ("abc", {"seed": 1}, [[1, {"test_accuracy": 50.0}]])
    assert end["status"] == "FINISHED"


def test_a_writer_is_seen_as_alive_while_it_is_and_reading_does_not_disturb_it():
    kept = journal.Journal("verb", "verb")
    for step in range(3):
        events, alive = journal.reading(kept.path)
        assert alive
        assert len(events) == 1 + step
        kept.metrics({"loss": 0.5}, step)
    kept.close("FINISHED")
    events, alive = journal.reading(kept.path)
    assert not alive
    assert len(events) == 5


def test_what_comes_after_the_end_is_dropped():
    kept = journal.Journal("verb", "verb")
    kept.close("FINISHED")
    kept.metrics({"system/cpu_percent": 1.0})
    assert [event["event"] for event in only_journal()] == ["start", "end"]


KILLED = """
    import os, sys
    from stages.lib.store import journal

    kept = journal.Journal("verb", "verb")
    kept.metrics({"loss": 0.5}, 1)
    kept._file.write('{"event": "metrics", "values": {"lo')
    kept._file.flush()
    print(kept.path, flush=True)
    sys.stdin.readline()
"""


def test_a_writer_that_was_killed_is_read_as_dead_without_its_half_written_line():
    command = [sys.executable, "-c", textwrap.dedent(KILLED)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        path = Path(writer.stdout.readline().strip())
        before, alive = journal.reading(path)
        assert alive
        writer.kill()
        writer.wait()
    events, alive = journal.reading(path)
    assert not alive
    assert events == before
    assert [event["event"] for event in events] == ["start", "metrics"]


@pytest.mark.parametrize(
    ("values", "flat"),
    [
        ({}, {}),
        ({"a": 1, "b": None}, {"a": 1, "b": None}),
        ({"a": {"b": {"c": 1}, "d": "x"}, "e": 2}, {"a.b.c": 1, "a.d": "x", "e": 2}),
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 2}]}),
        ({"a": {}}, {}),
    ],
)
def test_nested_keys_become_keys_with_dots(values, flat):
    assert journal.flatten(values) == flat


def test_an_execution_notes_settings_inputs_outputs_and_its_end(workspace):
    (workspace / "in").mkdir()
    (workspace / "in" / "x").write_bytes(b"abc")
    (workspace / "out").write_bytes(b"abcd")
    run_stage(inputs=[Path("in")], outputs=[Path("out")])
    events = only_journal()
    assert [event["event"] for event in events] == ["start", "params", "file", "file", "metrics", "end"]
    start, params, read, written, duration, end = events
    assert (start["name"], start["stage"], start["dvc_experiment"], start["git_commit"]) == ("verb@a-b", "verb", "workspace", None)
    assert params["values"] == {"verb.lr": 0.1}
    assert (read["role"], read["path"], read["bytes"]) == ("input", "in", 3)
    assert read["digest"] == files.digest_of({"x": files.sha256_of(Path("in/x"))})
    assert (written["role"], written["bytes"], written["digest"]) == ("output", 4, files.sha256_of(Path("out")))
    assert duration["values"]["duration_s"] >= 0
    assert end["status"] == "FINISHED"


def test_the_digest_of_a_folder_changes_with_names_and_content(workspace):
    def digest(**content: bytes) -> str:
        folder = workspace / "_".join(content) / "folder"
        (folder / "below").mkdir(parents=True, exist_ok=True)
        for name, value in content.items():
            (folder / "below" / name).write_bytes(value)
        kept = journal.Journal("verb", "verb")
        kept.file("input", folder)
        kept.close("FINISHED")
        found = [event["digest"] for event in journal.reading(kept.path)[0] if event["event"] == "file"]
        return found[0]

    digests = [digest(a=b"1", b=b"2"), digest(a=b"1"), digest(a=b"2"), digest(b=b"2")]
    assert len(set(digests)) == 4
    assert digest(a=b"1") == digests[1]


def test_a_file_that_is_not_there_has_no_digest():
    kept = journal.Journal("verb", "verb")
    kept.file("output", Path("none"))
    kept.close("FAILED")
    assert only_journal()[1]["digest"] is None


def test_an_error_that_a_person_can_act_on_fails_the_run_with_its_line_and_goes_on_up():
    with pytest.raises(RunError, match="data/x: is missing"):
        run_stage(RunError("data/x: is missing"))
    events = only_journal()
    assert [event["text"] for event in events if event["event"] == "note"] == ["data/x: is missing"]
    assert events[-1]["status"] == "FAILED"


def test_any_other_error_fails_the_run_with_its_traceback_and_goes_on_up():
    with pytest.raises(ZeroDivisionError):
        run_stage(ZeroDivisionError("by 0"))
    events = only_journal()
    (note,) = [event["text"] for event in events if event["event"] == "note"]
    assert note.startswith("Traceback")
    assert "ZeroDivisionError: by 0" in note
    assert events[-1]["status"] == "FAILED"


def test_an_interruption_is_one_line_and_the_run_is_killed():
    with pytest.raises(SystemExit, match="verb@a-b: interrupted; it goes on from here"):
        run_stage(KeyboardInterrupt())
    assert only_journal()[-1]["status"] == "KILLED"


def test_a_stage_can_run_again_after_an_error():
    with pytest.raises(RunError):
        run_stage(RunError("x"))
    run_stage()
    statuses = sorted(json.loads(path.read_text().splitlines()[-1])["status"] for path in journal.folder().glob("*.jsonl"))
    assert statuses == ["FAILED", "FINISHED"]


def test_the_commit_is_that_of_the_repository(workspace, monkeypatch):
    assert journal.git_commit() is None
    for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"):
        monkeypatch.setenv(name, "someone")
    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run(["git", "commit", "-q", "--allow-empty", "-m", "first"], check=True)
    known = subprocess.run(["git", "log", "--format=%H"], capture_output=True, text=True, check=True).stdout.strip()
    assert journal.git_commit() == known


def test_long_stages_write_down_what_the_machine_is_doing(monkeypatch):
    monkeypatch.setattr(journal, "LIVE_AFTER_S", 0.01)
    monkeypatch.setattr(journal, "SAMPLE_EVERY_S", 0.01)
    started = []

    class Follower:
        def __init__(self, command, **_):
            started.append(command)

    monkeypatch.setattr(journal.subprocess, "Popen", Follower)
    monkeypatch.setattr(journal, "git_commit", lambda: None)
    with journal.execution("verb", settings={}, inputs=[], outputs=[]) as kept:
        for _ in range(500):
            samples = [event for event in journal.reading(kept.path)[0] if event["event"] == "metrics"]
            if len(samples) >= 2:
                break
            journal.time.sleep(0.01)
    assert started == [[sys.executable, "-m", "stages.track", "--follow", str(kept.path)]]
    assert [event["step"] for event in samples[:2]] == [0, 1]
    assert samples[0]["values"]["system/memory_gb"] > 0.01
    assert only_journal()[-1]["event"] == "end"


FULL_DISK = """
    import resource, signal
    from stages.lib import command
    from stages.lib.store import journal

    def main():
        with journal.execution("verb", settings={}, inputs=[], outputs=[]) as kept:
            for step in range(100):
                kept.metrics({"loss": 0.5}, step)

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # else the limit ends the process, which a full disk does not
    resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))
    command.run(main, "")
"""


def test_a_disk_that_takes_no_more_is_one_line():
    run = [sys.executable, "-c", textwrap.dedent(FULL_DISK)]
    found = subprocess.run(run, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == 1
    assert found.stderr.count("\n") == 1, found.stderr
    assert found.stderr.startswith("error: ")
    assert str(journal.folder()) in found.stderr


def test_the_use_of_processors_is_that_of_the_family_with_those_that_have_ended():
    _, before = journal._usage()
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    subprocess.run([sys.executable, "-c", burn], check=True)
    memory, after = journal._usage()
    assert after - before > 0.2
    assert memory > 1e7
