"""Bringing a file: from a real server on this machine that answers well, badly, late or not at all, and from a path."""

import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from served import Server

from stages.lib.errors import RunError
from stages.lib.settings.catalog import File
from stages.lib.store import code
from stages.lib.store.fetch import fetch

NAME = "w.bin"
CONTENT = bytes(range(256)) * 20
SHA256, MD5 = hashlib.sha256(CONTENT).hexdigest(), hashlib.md5(CONTENT).hexdigest()
KNOWN = {"size": len(CONTENT), "sha256": SHA256, "md5": MD5}


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch) -> Path:
    """Where half-downloaded bytes are kept."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def server():
    with Server({NAME: CONTENT, "second.bin": CONTENT}) as server:
        yield server


def file(*mirrors: object, **known) -> File:
    return File(name=NAME, mirrors=[str(mirror) for mirror in mirrors], **known)


def bring(wanted: File, destination: Path, **changes) -> list[float]:
    """Fetch without really waiting; returns the seconds that would have been waited."""
    waits = []
    assert fetch(wanted, destination, **({"timeout_s": 5, "attempts": 3, "wait": waits.append} | changes)) == SHA256
    return waits


def refusal(wanted: File, destination: Path, **changes) -> str:
    """The line with which it ends; nothing but what was there before is left."""
    before = contents(destination.parent)
    with pytest.raises(RunError) as error:
        bring(wanted, destination, **changes)
    assert "\n" not in str(error.value)
    assert contents(destination.parent) == before
    return str(error.value)


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.glob("*") if path.is_file()}


def parts(state: Path) -> list[Path]:
    return [path for path in state.rglob("*") if path.suffix in (".part", ".json")]


@pytest.mark.parametrize(
    ("plan", "waits"),
    [
        (["whole"], []),
        (["unsized"], []),
        (["length:abc"], []),
        (["length:-5"], []),
        (["chunked"], []),
        (["encoded"], []),  # a .gz that the server declares as an encoding is the file itself
        (["moved", "whole"], []),
        (["500", "whole"], [1]),
        (["429", "503", "whole"], [1, 2]),
        (["429:7", "whole"], [7]),
        (["503:100000", "whole"], [300]),
        (["503:Fri, 31 Dec 1999 23:59:59 GMT", "whole"], [1]),
        (["cut:3000", "whole"], [1]),
        (["cut:3000", "cut:1000", "whole"], [1, 2]),
        (["cut:0", "whole"], [1]),
        (["cut:3000", "no-range"], [1]),
        (["cut:3000", "wrong-range", "whole"], [1, 2]),
        (["cut:3000", "416", "whole"], [1, 2]),
    ],
    ids=str,
)
@pytest.mark.parametrize("known", [KNOWN, {"sha256": SHA256[:8]}, {"md5": MD5}], ids=["all", "start of sha256", "md5"])
def test_a_file_arrives_whole_and_a_passing_fault_is_tried_again(server, tmp_path, state, plan, waits, known):
    server.plans[NAME] = plan
    destination = tmp_path / "folder" / NAME
    assert bring(file(server.address(NAME), **known), destination) == waits
    assert destination.read_bytes() == CONTENT
    assert list(contents(destination.parent)) == [destination]
    assert not parts(state)
    assert len(server.asked_for(NAME)) == len(plan) - (plan[0] == "moved")


def test_after_a_cut_it_goes_on_where_it_stopped(server, tmp_path, state):
    server.plans[NAME] = ["cut:3000", "cut:1000", "whole"]
    wanted, seen = file(server.address(NAME), **KNOWN), []
    refusal(wanted, tmp_path / NAME, attempts=1)
    (part,) = state.rglob("*.part")
    assert part.read_bytes() == CONTENT[:3000]
    assert bring(wanted, tmp_path / NAME, progress=lambda *values: seen.append(values)) == [1]
    assert [request.headers["Range"] for request in server.asked_for(NAME)] == [None, "bytes=3000-", "bytes=4000-"]
    assert {request.headers["If-Range"] for request in server.asked_for(NAME)[1:]} == {'"1"'}
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert [total for _, total in seen] == [len(CONTENT)] * len(seen)
    assert [done for done, _ in seen][-1] == len(CONTENT)
    assert min(done for done, _ in seen) > 3000


def test_a_file_that_changed_between_two_attempts_is_not_spliced(server, tmp_path):
    server.plans[NAME] = ["cut:3000", "whole"]
    wanted = file(server.address(NAME), sha256=SHA256)
    server.files[NAME] = CONTENT[::-1]
    refusal(wanted, tmp_path / NAME, attempts=1)
    server.files[NAME], server.etags[NAME] = CONTENT, '"2"'
    assert bring(wanted, tmp_path / NAME) == []
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_halves_that_do_not_fit_are_thrown_away_and_brought_again(server, tmp_path):
    server.plans[NAME] = ["cut:3000", "whole"]
    wanted = file(server.address(NAME), sha256=SHA256)
    server.files[NAME] = CONTENT[::-1]
    refusal(wanted, tmp_path / NAME, attempts=1)
    server.files[NAME] = CONTENT  # under the same version
    assert bring(wanted, tmp_path / NAME) == [1]
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_a_killed_download_goes_on_in_the_next_process(server, tmp_path, state):
    """The bytes that came before SIGKILL are asked for no second time."""
    large = bytes(range(256)) * 40_000  # more than the buffers between the two processes
    server.files[NAME], server.plans[NAME] = large, ["cut:2000000", "silent:60"]
    script = (
        "import sys; from pathlib import Path; from stages.lib.settings.catalog import File; from stages.lib.store.fetch import fetch;"
        "fetch(File(name='w.bin', mirrors=[sys.argv[1]]), Path(sys.argv[2]), timeout_s=60, attempts=9, wait=lambda s: None)"
    )
    command = [sys.executable, "-c", script, server.address(NAME), str(tmp_path / NAME)]
    running = subprocess.Popen(command, cwd=code.ROOT, env=os.environ | {"PYTHONPATH": str(code.ROOT)})
    deadline = time.monotonic() + 30
    while len(server.asked_for(NAME)) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    server.plans[NAME] = ["whole"]
    found = fetch(file(server.address(NAME)), tmp_path / NAME, timeout_s=5, attempts=1)
    assert server.asked_for(NAME)[-1].headers["Range"] == "bytes=2000000-"
    assert found == hashlib.sha256(large).hexdigest()


@pytest.mark.parametrize(
    ("word", "times", "said"),
    [
        ("404", 1, "the server answered 404 Not Found"),
        ("403", 1, "the server answered 403"),
        ("500", 3, "the server answered 500, 3 times"),
        ("429", 3, "the server answered 429, 3 times"),
        ("cut:0", 3, "no answer (ProtocolError), 3 times"),
        ("page", 1, "an HTML page instead of the file"),
        ("other", 1, f"sha256 is {hashlib.sha256(CONTENT[::-1]).hexdigest()}; allowed: {SHA256}; nothing is kept"),
    ],
)
@pytest.mark.parametrize("earlier", [None, b"what an earlier run has brought"], ids=["nothing before", "a file before"])
def test_a_fault_is_one_line_and_leaves_what_was_there(server, tmp_path, state, word, times, said, earlier):
    server.plans[NAME] = [word]
    if earlier:
        (tmp_path / NAME).write_bytes(earlier)
    line = refusal(file(server.address(NAME), **KNOWN), tmp_path / NAME)
    assert f"{server.address(NAME)}: {said}" in line
    assert line.endswith(f". Put the file at {tmp_path / NAME} by hand, or correct its entry in the catalog")
    assert (f"{tmp_path / NAME}: it has 31 bytes; allowed: {len(CONTENT)}; " in line) == bool(earlier)
    assert len(server.asked_for(NAME)) == times


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ({"size": 17}, f"it has {len(CONTENT)} bytes; allowed: 17"),
        ({"sha256": "01234567"}, f"sha256 is {SHA256}; allowed: 01234567"),
        ({"md5": "0" * 32}, f"md5 is {MD5}; allowed: {'0' * 32}"),
    ],
)
def test_each_checksum_is_compared(server, tmp_path, state, known, said):
    assert said in refusal(file(server.address(NAME), **KNOWN | known), tmp_path / NAME)
    assert not parts(state)


@pytest.mark.parametrize("word", ["404", "500", "page", "other", "cut:100", "silent:1"])
def test_the_second_mirror_is_used_when_the_first_fails(server, tmp_path, word):
    server.plans[NAME] = [word]
    bring(file(server.address(NAME), server.address("second.bin"), **KNOWN), tmp_path / NAME, attempts=2, timeout_s=0.2)
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert [request.headers["Range"] for request in server.asked_for("second.bin")] == [None]


def test_when_every_mirror_fails_the_line_says_of_each_what_was_wrong(server, tmp_path):
    server.plans |= {NAME: ["404"], "second.bin": ["page"]}
    first, second, third = server.address(NAME), server.address("second.bin"), tmp_path / "none.bin"
    line = refusal(file(first, second, third, **KNOWN), tmp_path / NAME)
    assert f"{first}: the server answered 404 Not Found; {second}: an HTML page instead of the file; {third}: no such file" in line


def test_a_server_that_falls_silent_is_given_up(server, tmp_path):
    server.plans[NAME] = ["silent:1"]
    started = time.monotonic()
    line = refusal(file(server.address(NAME), **KNOWN), tmp_path / NAME, timeout_s=0.1, attempts=2)
    assert "no answer (ReadTimeout), 2 times" in line
    assert time.monotonic() - started < 1


def test_a_server_that_is_away_is_given_up(server, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/w.bin"
    assert f"{address}: no answer (ConnectionError), 3 times" in refusal(file(address, **KNOWN), tmp_path / NAME)


def test_a_file_that_is_there_and_right_needs_no_network(server, tmp_path):
    destination = tmp_path / NAME
    destination.write_bytes(CONTENT)
    modified = destination.stat().st_mtime_ns
    assert bring(file("http://host.invalid/w.bin", **KNOWN), destination) == []
    assert destination.stat().st_mtime_ns == modified
    assert not server.asked


@pytest.mark.parametrize("damage", [CONTENT[:-1], CONTENT[::-1], b"<html>"], ids=["short", "other", "page"])
def test_a_damaged_file_that_is_there_is_brought_again_and_a_line_says_why(server, tmp_path, capsys, damage):
    (tmp_path / NAME).write_bytes(damage)
    bring(file(server.address(NAME), **KNOWN), tmp_path / NAME)
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert f"{tmp_path / NAME}: " in capsys.readouterr().err


# A file of which the catalog has no checksum


@pytest.mark.parametrize("word", ["whole", "chunked"])
def test_a_file_without_a_checksum_is_taken_whole_and_its_sha256_is_told(server, tmp_path, capsys, word):
    server.plans[NAME] = [word]
    bring(file(server.address(NAME)), tmp_path / NAME)
    assert f"add `sha256: {SHA256}`" in capsys.readouterr().err
    bring(file(server.address(NAME)), tmp_path / NAME)
    assert f"add `sha256: {SHA256}`" in capsys.readouterr().err
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("unsized", "does not say how long the file is"),
        ("cut:100", "no answer"),
        ("page", "HTML page"),
        (f"linked:{'0' * 64}", "promised 0000"),
    ],
)
def test_a_file_without_a_checksum_that_may_not_be_whole_is_refused(server, tmp_path, word, said):
    server.plans[NAME] = [word]
    assert said in refusal(file(server.address(NAME)), tmp_path / NAME)


def test_the_hash_that_a_redirect_promises_is_compared(server, tmp_path):
    server.plans[NAME] = [f"linked:{SHA256}"]
    bring(file(server.address(NAME)), tmp_path / NAME)
    assert [request.name for request in server.asked] == [NAME, f"elsewhere/{NAME}"]


# Paths


@pytest.mark.parametrize("address", [str, Path.as_uri, lambda path: f"file://{path}"], ids=["path", "address", "bare address"])
@pytest.mark.parametrize("name", ["source.bin", "with a space.bin"])
def test_a_file_on_this_machine_is_copied(tmp_path, address, name):
    source, destination = tmp_path / name, tmp_path / "folder" / NAME
    source.write_bytes(CONTENT)
    seen = []
    assert bring(file(address(source), **KNOWN), destination, progress=lambda *values: seen.append(values)) == []
    assert destination.read_bytes() == source.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_a_relative_path_is_seen_from_where_the_stage_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("source.bin").write_bytes(CONTENT)
    bring(file("source.bin", **KNOWN), Path(NAME))
    assert Path(NAME).read_bytes() == CONTENT


@pytest.mark.parametrize("address", ["none.bin", "file:///none.bin", "."])
def test_a_path_without_a_file_is_one_line(tmp_path, monkeypatch, address):
    monkeypatch.chdir(tmp_path)
    assert "no such file" in refusal(file(address, **KNOWN), tmp_path / NAME)


def test_a_copy_with_another_hash_is_refused_as_well(tmp_path):
    (tmp_path / "source.bin").write_bytes(CONTENT[::-1])
    assert f"allowed: {SHA256}" in refusal(file(tmp_path / "source.bin", **KNOWN), tmp_path / NAME)


# Where there is no room, and where two want the same

FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from stages.lib.settings.catalog import File
from stages.lib.errors import RunError
from stages.lib.store.fetch import fetch
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # else the limit ends the process, which a full disk does not
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
try:
    fetch(File(name="w.bin", mirrors=sys.argv[1:2], sha256=sys.argv[3]), Path(sys.argv[2]), timeout_s=5, attempts=2)
except RunError as error:
    print(error)
"""


@pytest.mark.parametrize("kind", ["download", "copy"])
def test_a_disk_that_takes_no_more_is_one_line(server, tmp_path, kind):
    (tmp_path / "source.bin").write_bytes(CONTENT)
    source = server.address(NAME) if kind == "download" else str(tmp_path / "source.bin")
    command = [sys.executable, "-c", FULL_DISK, source, str(tmp_path / NAME), SHA256]
    done = subprocess.run(command, cwd=code.ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert "cannot be written: File too large" in done.stdout
    assert done.stdout.count("\n") == 1
    assert not (tmp_path / NAME).exists()
    assert kind == "copy" or bring(file(server.address(NAME), sha256=SHA256), tmp_path / NAME) == []  # with room again


def test_two_processes_that_want_the_same_file_bring_it_once(server, tmp_path):
    server.plans[NAME] = ["whole"]
    server.files[NAME] = CONTENT * 4000
    sha256 = hashlib.sha256(server.files[NAME]).hexdigest()
    script = (
        "import sys; from pathlib import Path; from stages.lib.settings.catalog import File; from stages.lib.store.fetch import fetch;"
        "print(fetch(File(name='w.bin', mirrors=[sys.argv[1]], sha256=sys.argv[3]), Path(sys.argv[2]), timeout_s=5, attempts=1))"
    )
    command = [sys.executable, "-c", script, server.address(NAME), str(tmp_path / NAME), sha256]
    running = [subprocess.Popen(command, cwd=code.ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert {process.communicate(timeout=60)[0].strip() for process in running} == {sha256}
    assert len(server.asked) == 1
