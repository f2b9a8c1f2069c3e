"""Bringing a file: from a real server on this machine that answers well, badly, late or not at all, and from a path."""

import hashlib
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from stages.lib.errors import RunError
from stages.lib.fetch import fetch

CONTENT = bytes(range(256)) * 20
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PAGE = b"\n<!DOCTYPE html>\n<html>log in first</html>"


class Handler(BaseHTTPRequestHandler):
    """Answers with the next word of the server's plan, and the last one for ever."""

    def do_GET(self):
        plan = self.server.plan
        word = plan[min(len(self.server.asked), len(plan) - 1)]
        self.server.asked.append(self.path)
        if word == "whole":
            self.answer(200, CONTENT)
        elif word == "truncated":
            self.answer(200, CONTENT[:3000], length=len(CONTENT))
        elif word == "page":
            self.answer(200, PAGE)
        elif word == "other":
            self.answer(200, CONTENT[::-1])
        elif word == "unsized":
            self.answer(200, CONTENT, length=None)
        elif word == "silent":
            time.sleep(1)
        elif word == "moved":
            self.send_response(302)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self.answer(int(word), b"sorry")

    def answer(self, status: int, body: bytes, length: int | None = -1) -> None:
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(len(body) if length < 0 else length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked = []
        server.address = f"http://127.0.0.1:{server.server_port}/w.safetensors"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def bring(address: str, destination: Path, **changes) -> list[float]:
    """Fetch without really waiting; returns the seconds that would have been waited."""
    waits = []
    fetch(address, destination, **({"sha256": SHA256, "timeout_s": 5, "attempts": 3, "wait": waits.append} | changes))
    return waits


def refusal(address: str, destination: Path, **changes) -> str:
    """The line with which it ends; nothing but what was there before is left."""
    before = {p: p.read_bytes() for p in destination.parent.rglob("*") if p.is_file()}
    with pytest.raises(RunError) as error:
        bring(address, destination, **changes)
    assert "\n" not in str(error.value)
    assert {p: p.read_bytes() for p in destination.parent.rglob("*") if p.is_file()} == before
    return str(error.value)


@pytest.mark.parametrize(
    ("plan", "waits"),
    [
        (["whole"], []),
        (["unsized"], []),
        (["moved", "whole"], []),
        (["500", "whole"], [1]),
        (["429", "503", "whole"], [1, 2]),
        (["truncated", "whole"], [1]),
    ],
)
def test_a_file_arrives_whole_and_a_passing_fault_is_tried_again(server, tmp_path, plan, waits):
    server.plan = plan
    destination = tmp_path / "folder" / "w.safetensors"
    assert bring(server.address, destination) == waits
    assert destination.read_bytes() == CONTENT
    assert [p.name for p in destination.parent.iterdir()] == ["w.safetensors"]
    assert len(server.asked) == len(plan)


@pytest.mark.parametrize(
    ("word", "times", "said"),
    [
        ("404", 1, "the server answered 404 Not Found; correct the address"),
        ("403", 1, "the server answered 403"),
        ("500", 3, "the server answered 500, 3 times"),
        ("429", 3, "the server answered 429, 3 times"),
        ("truncated", 3, "3 times"),
        ("page", 1, "gave an HTML page instead of the file"),
        ("other", 1, f"sha256 is {hashlib.sha256(CONTENT[::-1]).hexdigest()}; allowed: {SHA256}"),
    ],
)
@pytest.mark.parametrize("earlier", [None, b"what an earlier run has brought"], ids=["nothing before", "a file before"])
def test_a_fault_is_one_line_and_leaves_what_was_there(server, tmp_path, word, times, said, earlier):
    server.plan = [word]
    if earlier:
        (tmp_path / "w.safetensors").write_bytes(earlier)
    line = refusal(server.address, tmp_path / "w.safetensors")
    assert line.startswith(f"{server.address}: ")
    assert said in line
    assert len(server.asked) == times


def test_a_server_that_falls_silent_is_given_up(server, tmp_path):
    server.plan = ["silent"]
    started = time.monotonic()
    line = refusal(server.address, tmp_path / "w.safetensors", timeout_s=0.1, attempts=2)
    assert "no answer (ReadTimeout), 2 times" in line
    assert time.monotonic() - started < 1


def test_a_server_that_is_away_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/w.safetensors"
    line = refusal(address, tmp_path / "w.safetensors")
    assert "no answer (ConnectionError), 3 times" in line
    assert f"put the file at {tmp_path / 'w.safetensors'} by hand" in line


def test_a_file_that_is_there_is_not_brought_again(server, tmp_path):
    server.plan = ["500"]
    destination = tmp_path / "w.safetensors"
    destination.write_bytes(CONTENT)
    modified = destination.stat().st_mtime_ns
    assert bring(server.address, destination) == []
    assert server.asked == []
    assert destination.stat().st_mtime_ns == modified


def test_a_damaged_file_that_is_there_is_brought_again(server, tmp_path):
    server.plan = ["whole"]
    destination = tmp_path / "w.safetensors"
    destination.write_bytes(CONTENT[:-1])
    bring(server.address, destination)
    assert destination.read_bytes() == CONTENT


@pytest.mark.parametrize(("word", "total"), [("whole", len(CONTENT)), ("unsized", None)])
def test_progress_ends_with_all_bytes(server, tmp_path, word, total):
    server.plan = [word]
    seen = []
    bring(server.address, tmp_path / "w", progress=lambda *values: seen.append(values))
    assert seen[-1] == (len(CONTENT), total)


@pytest.mark.parametrize("address", [str, Path.as_uri, lambda path: f"file://{path}"], ids=["path", "address", "bare address"])
@pytest.mark.parametrize("name", ["source.bin", "with a space.bin"])
def test_a_file_on_this_machine_is_copied(tmp_path, address, name):
    source, destination = tmp_path / name, tmp_path / "folder" / "w"
    source.write_bytes(CONTENT)
    seen = []
    assert bring(address(source), destination, progress=lambda *values: seen.append(values)) == []
    assert destination.read_bytes() == source.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_a_relative_path_is_seen_from_where_the_stage_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("source.bin").write_bytes(CONTENT)
    bring("source.bin", Path("w"))
    assert Path("w").read_bytes() == CONTENT


@pytest.mark.parametrize("address", ["none.bin", "file:///none.bin", "."])
def test_a_path_without_a_file_is_one_line(tmp_path, monkeypatch, address):
    monkeypatch.chdir(tmp_path)
    assert "no such file" in refusal(address, tmp_path / "w")


def test_a_copy_with_another_hash_is_refused_as_well(tmp_path):
    (tmp_path / "source.bin").write_bytes(CONTENT + b"x")
    assert f"allowed: {SHA256}" in refusal(str(tmp_path / "source.bin"), tmp_path / "w")
