"""Bringing a file: from a real server on this machine that answers well, badly, late or not at all, and from a path."""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
import served

from stages.lib import fetch as module
from stages.lib import files
from stages.lib.catalog import File
from stages.lib.errors import RunError
from stages.lib.fetch import fetch

CONTENT = bytes(range(256)) * 20
SHA256, MD5 = served.sha256(CONTENT), served.md5(CONTENT)


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "state"))
    with served.Server({"w.bin": CONTENT, "second.bin": CONTENT}) as running:
        yield running


@pytest.fixture
def state(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "state"))
    return tmp_path / "state"


def bring(mirrors: str | list[str], destination: Path, sha256: str | None = SHA256, **changes) -> list[float]:
    """Fetch without really waiting; returns the seconds that would have been waited."""
    waits = []
    known = {name: changes.pop(name) for name in ("size", "md5") if name in changes}
    file = File(name="w.bin", mirrors=mirrors, sha256=sha256, **known)
    found = fetch(file, destination, **({"timeout_s": 5, "attempts": 3, "wait": waits.append} | changes))
    assert found == files.sha256_of(destination)
    return waits


def refusal(mirrors: str | list[str], destination: Path, **changes) -> str:
    """The line with which it ends; nothing but what was there before is left."""
    folder = destination.parent
    before = {p: p.read_bytes() for p in folder.glob("*") if p.is_file()}
    with pytest.raises(RunError) as error:
        bring(mirrors, destination, **changes)
    assert "\n" not in str(error.value)
    assert {p: p.read_bytes() for p in folder.glob("*") if p.is_file()} == before
    return str(error.value)


def parts() -> list[str]:
    return sorted(path.suffix for path in (files.state_folder() / ".cells/downloads").iterdir() if path.suffix != ".lock")


@pytest.mark.parametrize(
    ("plan", "waits"),
    [
        (["whole"], []),
        (["unsized"], []),
        (["moved", "whole"], []),
        (["500", "whole"], [1]),
        (["429", "503", "whole"], [1, 3]),  # this server's 503 says Retry-After: 3
        (["cut", "whole"], [1]),
        (["cut", "cut", "whole"], [1, 2]),
    ],
)
def test_a_file_arrives_whole_and_a_passing_fault_is_tried_again(server, tmp_path, plan, waits):
    server.plans["w.bin"] = plan
    destination = tmp_path / "folder" / "w.bin"
    assert bring(server.address("w.bin"), destination) == waits
    assert destination.read_bytes() == CONTENT
    assert [p.name for p in destination.parent.iterdir()] == ["w.bin"]
    assert len(server.asked) == len(plan)
    assert parts() == []


@pytest.mark.parametrize(
    ("word", "times", "said"),
    [
        ("404", 1, "the server answered 404 Not Found"),
        ("403", 1, "the server answered 403"),
        ("500", 3, "the server answered 500, 3 times"),
        ("429", 3, "the server answered 429, 3 times"),
        ("page", 1, "an HTML page instead of the file"),
        ("other", 1, f"sha256 is {served.sha256(CONTENT[::-1])}; allowed: {SHA256}"),
    ],
)
@pytest.mark.parametrize("earlier", [None, b"what an earlier run has brought"], ids=["nothing before", "a file before"])
def test_a_fault_is_one_line_and_leaves_what_was_there(server, tmp_path, word, times, said, earlier):
    server.plans["w.bin"] = [word]
    destination = tmp_path / "w.bin"
    if earlier:
        destination.write_bytes(earlier)
    line = refusal(server.address("w.bin"), destination)
    assert line.startswith(f"{server.address('w.bin')}: ")
    assert said in line
    assert line.endswith(f"Put the file at {destination} by hand, or correct its mirrors in the catalog")
    assert len(server.asked) == times


def test_a_connection_that_always_breaks_is_given_up_and_what_came_is_kept_for_the_next_time(server, tmp_path):
    server.plans["w.bin"] = ["cut"]
    assert "the connection ended after" in refusal(server.address("w.bin"), tmp_path / "w.bin")
    assert parts() == [".mark", ".part"]
    server.asked.clear()
    server.plans["w.bin"] = ["whole"]
    bring(server.address("w.bin"), tmp_path / "w.bin")
    [(_, headers)] = server.asked
    kept = len(CONTENT) * 7 // 8  # half of what was left, three times
    assert headers["Range"] == f"bytes={kept}-"
    assert headers["If-Range"] == f'"{MD5}"'
    assert (tmp_path / "w.bin").read_bytes() == CONTENT


def test_a_file_that_changed_on_the_server_is_not_put_together_from_two_versions(server, tmp_path):
    server.plans["w.bin"] = ["cut"]
    refusal(server.address("w.bin"), tmp_path / "w.bin", attempts=1)
    server.files["w.bin"] = CONTENT[::-1]
    server.plans["w.bin"] = ["whole"]
    bring(server.address("w.bin"), tmp_path / "w.bin", sha256=served.sha256(CONTENT[::-1])[:16])
    assert (tmp_path / "w.bin").read_bytes() == CONTENT[::-1]


def test_another_mirror_goes_on_where_the_first_broke_off(server, tmp_path):
    server.plans["w.bin"] = ["cut", "404"]
    bring([server.address("w.bin"), server.address("second.bin")], tmp_path / "w.bin")
    assert server.asked[-1][0] == "second.bin"
    assert server.asked[-1][1]["Range"] == f"bytes={len(CONTENT) // 2}-"


def test_a_wrong_beginning_is_thrown_away_once(server, tmp_path):
    server.plans["w.bin"] = ["cut"]
    refusal(server.address("w.bin"), tmp_path / "w.bin", attempts=1)
    [part] = (files.state_folder() / ".cells/downloads").glob("*.part")
    part.write_bytes(b"x" * part.stat().st_size)
    server.plans["w.bin"] = ["whole"]
    bring(server.address("w.bin"), tmp_path / "w.bin")
    assert (tmp_path / "w.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("word", ["norange", "whole"])
def test_a_part_that_is_already_whole_or_a_server_without_ranges_is_no_fault(server, tmp_path, word):
    server.plans["w.bin"] = ["cut"]
    refusal(server.address("w.bin"), tmp_path / "w.bin", attempts=1)
    [part] = (files.state_folder() / ".cells/downloads").glob("*.part")
    part.write_bytes(CONTENT)
    server.plans["w.bin"] = [word]
    bring(server.address("w.bin"), tmp_path / "w.bin")
    assert (tmp_path / "w.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("first", ["404", "page", "other", "500"])
def test_the_second_mirror_is_taken_where_the_first_fails(server, tmp_path, first):
    server.plans["w.bin"] = [first]
    bring([server.address("w.bin"), server.address("second.bin")], tmp_path / "w.bin")
    assert (tmp_path / "w.bin").read_bytes() == CONTENT


def test_when_all_mirrors_fail_the_line_says_what_each_did(server, tmp_path):
    server.plans |= {"w.bin": ["404"], "second.bin": ["page"]}
    line = refusal([server.address("w.bin"), server.address("second.bin"), "nowhere.bin"], tmp_path / "w.bin")
    assert "w.bin: the server answered 404" in line
    assert "second.bin: an HTML page" in line
    assert "nowhere.bin: no such file" in line


def test_a_server_that_falls_silent_is_given_up(server, tmp_path):
    server.plans["w.bin"] = ["silent"]
    started = time.monotonic()
    line = refusal(server.address("w.bin"), tmp_path / "w.bin", timeout_s=0.1, attempts=2)
    assert "no answer (ReadTimeout), 2 times" in line
    assert time.monotonic() - started < 1


def test_a_server_that_is_away_is_given_up(tmp_path, state, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/w.bin"
    assert "no answer (ConnectionError), 3 times" in refusal(address, tmp_path / "w.bin")


@pytest.mark.parametrize(
    ("known", "wrong"),
    [
        ({"sha256": SHA256[:8]}, None),
        ({"sha256": None, "md5": MD5}, None),
        ({"sha256": None, "md5": MD5, "size": len(CONTENT)}, None),
        ({"sha256": None, "md5": "0" * 32}, f"MD5 is {MD5}; allowed: {'0' * 32}"),
        ({"sha256": None, "size": 3}, f"{len(CONTENT)} bytes; allowed: 3"),
        ({"sha256": "0" * 8}, f"sha256 is {SHA256}; allowed: 00000000"),
    ],
)
def test_every_checksum_that_is_published_is_compared(server, tmp_path, known, wrong):
    if wrong:
        assert wrong in refusal(server.address("w.bin"), tmp_path / "w.bin", **known)
    else:
        bring(server.address("w.bin"), tmp_path / "w.bin", **known)


def test_without_a_checksum_the_one_of_the_server_is_taken_and_the_found_one_is_said(server, tmp_path, capsys):
    server.plans["w.bin"] = ["linked", "whole"]
    bring(server.address("w.bin"), tmp_path / "w.bin", sha256=None)
    assert f"has no checksum; this file has the sha256 {SHA256}: add it" in capsys.readouterr().err
    server.plans["second.bin"] = ["linked", "other"]
    assert "the server says" in refusal(server.address("second.bin"), tmp_path / "second.bin", sha256=None)


def test_a_file_that_is_there_is_not_brought_again(server, tmp_path):
    server.plans["w.bin"] = ["500"]
    destination = tmp_path / "w.bin"
    destination.write_bytes(CONTENT)
    modified = destination.stat().st_mtime_ns
    assert bring(server.address("w.bin"), destination) == []
    assert server.asked == []
    assert destination.stat().st_mtime_ns == modified


def test_a_damaged_file_that_is_there_is_brought_again_and_said(server, tmp_path, capsys):
    destination = tmp_path / "w.bin"
    destination.write_bytes(CONTENT[:-1])
    bring(server.address("w.bin"), destination)
    assert destination.read_bytes() == CONTENT
    assert f"{destination}: sha256 is" in capsys.readouterr().err


@pytest.mark.parametrize(("word", "total"), [("whole", len(CONTENT)), ("unsized", None)])
def test_progress_ends_with_all_bytes(server, tmp_path, word, total):
    server.plans["w.bin"] = [word]
    seen = []
    bring(server.address("w.bin"), tmp_path / "w", progress=lambda *values: seen.append(values))
    assert seen[-1] == (len(CONTENT), total)


@pytest.mark.parametrize("address", [str, Path.as_uri, lambda path: f"file://{path}"], ids=["path", "address", "bare address"])
@pytest.mark.parametrize("name", ["source.bin", "with a space.bin"])
def test_a_file_on_this_machine_is_copied(tmp_path, state, address, name):
    source, destination = tmp_path / name, tmp_path / "folder" / "w"
    source.write_bytes(CONTENT)
    seen = []
    assert bring(address(source), destination, progress=lambda *values: seen.append(values)) == []
    assert destination.read_bytes() == source.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))


@pytest.mark.parametrize("address", ["none.bin", "file:///none.bin", "."])
def test_a_path_without_a_file_is_one_line(tmp_path, state, monkeypatch, address):
    monkeypatch.chdir(tmp_path)
    assert "no such file" in refusal(address, tmp_path / "w")


def test_a_destination_on_another_file_system_gets_the_file(server, tmp_path, monkeypatch):
    original = os.replace

    def replace(source, target):
        if str(source).endswith(".part") and ".cells" in str(source):
            raise OSError(18, "Invalid cross-device link")
        original(source, target)

    monkeypatch.setattr(module.os, "replace", replace)
    bring(server.address("w.bin"), tmp_path / "w.bin")
    assert (tmp_path / "w.bin").read_bytes() == CONTENT
    assert parts() == []


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mount"), reason="a small file system is mounted, which takes root")
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", small], check=False, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("DVC_ROOT", str(small))
        large = os.urandom(200_000)
        with served.Server({"w.bin": large}) as running:
            line = refusal(running.address("w.bin"), tmp_path / "w.bin", sha256=served.sha256(large))
        assert "cannot be written: No space left on device; nothing is left of it" in line
        assert parts() == []
    finally:
        subprocess.run(["umount", "--lazy", small], check=False)
