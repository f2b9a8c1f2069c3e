"""Files are whole or absent; weights that are not safetensors are refused unread."""

import json
import os
import pickle
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from stages.lib.errors import RunError
from stages.lib.store import files

ROOT = Path(__file__).resolve().parents[3]


def left_in(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*"))


def fail_while_writing(path: Path, error: BaseException) -> None:
    with files.replacing(path) as temporary:
        temporary.write_bytes(b"half")
        raise error


def run_python(text: str, *arguments: object) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", textwrap.dedent(text), *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("error", [ValueError("x"), RunError("x"), KeyboardInterrupt(), SystemExit(1)], ids=lambda e: type(e).__name__)
def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "folder" / "a.json"
    with pytest.raises(type(error)):
        fail_while_writing(path, error)
    assert left_in(tmp_path) == ["folder"]
    files.write_json(path, {"a": 1})
    with pytest.raises(type(error)):
        fail_while_writing(path, error)
    assert files.read_json(path) == {"a": 1}
    assert left_in(tmp_path) == ["a.json", "folder"]


def test_a_reader_sees_the_old_file_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")
    with open(path, "rb") as reader:
        with files.replacing(path) as temporary:
            temporary.write_bytes(b"ne")
            assert path.read_bytes() == b"old"
            temporary.write_bytes(b"new")
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new"
    assert left_in(tmp_path) == ["a.txt"]


def test_what_cannot_be_put_into_json_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        files.write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert left_in(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "models").write_text("a file, where a folder is wanted")
    with pytest.raises(RunError, match="cannot be written"):
        files.write_bytes(tmp_path / "models" / "a.json", b"{}")


FULL_DISK = """
    import resource, signal, sys
    from pathlib import Path
    import numpy as np, pandas as pd, torch
    from stages.lib.store import files
    from stages.lib.errors import RunError

    folder = Path(sys.argv[1])
    writers = {
        "bytes": lambda path: files.write_bytes(path, bytes(100_000)),
        "json": lambda path: files.write_json(path, ["x" * 100_000]),
        "array": lambda path: files.save_array(path, np.ones(100_000, np.uint8)),
        "parquet": lambda path: files.write_parquet(path, pd.DataFrame({"a": np.random.default_rng(0).random(20_000)})),
        "tensors": lambda path: files.write_tensors(path, {"a": torch.ones(30_000)}),
        "checkpoint": lambda path: files.write_checkpoint(path, {"a": torch.ones(30_000)}),
    }
    for name, write in writers.items():
        (folder / name).write_text("before")
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # else the limit ends the process, which a full disk does not
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
    for name, write in writers.items():
        try:
            write(folder / name)
            print(name, "no error")
        except RunError as error:
            print(name, "line" if str(folder / name) in str(error) and "\\n" not in str(error) else repr(error))
        except Exception as error:
            print(name, repr(error))
"""


def test_a_disk_that_takes_no_more_is_one_line_and_leaves_the_old_file(tmp_path):
    found = run_python(FULL_DISK, tmp_path)
    names = ["bytes", "json", "array", "parquet", "tensors", "checkpoint"]
    assert found.stdout.splitlines() == [f"{name} line" for name in names], found.stderr
    assert left_in(tmp_path) == sorted(names)
    assert {(tmp_path / name).read_text() for name in names} == {"before"}


def test_an_array_is_written_chunk_by_chunk(tmp_path):
    """What is on the way to the disk is no more than the chunk of the moment."""
    array = np.random.default_rng(0).integers(0, 256, (7, 500, 300), np.uint8)
    seen = []

    def chunks():
        for start in (0, 3, 6):
            yield array[start : start + 3]
            (temporary,) = tmp_path.iterdir()
            seen.append(temporary.stat().st_size // array[0].nbytes)

    found = files.write_array(tmp_path / "a.npy", array.shape, np.uint8, chunks())
    assert seen == [3, 6, 7]
    assert np.array_equal(np.load(tmp_path / "a.npy"), array)
    assert found == files.sha256_of(tmp_path / "a.npy")


@pytest.mark.parametrize("rows", [[3], [3, 5], [4, 3, 1], []])
def test_an_array_of_too_few_or_too_many_rows_is_not_left(tmp_path, rows):
    with pytest.raises(ValueError, match=r"rows came, of an array of \(7, 2\)"):
        files.write_array(tmp_path / "a.npy", (7, 2), np.uint8, [np.zeros((n, 2), np.uint8) for n in rows])
    with pytest.raises(ValueError, match="a chunk has the shape"):
        files.write_array(tmp_path / "a.npy", (7, 2), np.uint8, [np.zeros((7, 3), np.uint8)])
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("make", [lambda x: x[:, ::2], np.asfortranarray, lambda x: x.astype(">i8"), lambda x: x[:0], lambda x: x])
def test_an_array_is_written_as_numpy_writes_it(tmp_path, make):
    array = make(np.arange(60, dtype=np.int64).reshape(5, 12))
    files.save_array(tmp_path / "a.npy", array)
    np.save(tmp_path / "b.npy", np.ascontiguousarray(array))
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


def test_an_array_comes_back_as_it_was_written(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (7, 5, 3), np.uint8)
    files.save_array(tmp_path / "a.npy", array)
    assert np.array_equal(np.load(tmp_path / "a.npy", mmap_mode="r"), array)


def test_the_digest_depends_on_content_and_not_on_the_order_of_keys():
    a = {"x": 1, "y": {"p": [1, 2], "q": None}}
    assert files.digest_of(a) == files.digest_of({"y": {"q": None, "p": [1, 2]}, "x": 1})
    others = [{"x": 1, "y": {"p": [2, 1], "q": None}}, {"x": 1, "y": {"p": [1, 2], "q": 0}}, {"x": "1", "y": {"p": [1, 2], "q": None}}, {}]
    assert len({files.digest_of(content) for content in [a, *others]}) == 5
    with pytest.raises(ValueError, match="JSON compliant"):
        files.digest_of({"x": float("inf")})


def test_sha256_is_that_of_the_whole_file(tmp_path, monkeypatch):
    (tmp_path / "abc").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
    assert files.sha256_of(tmp_path / "abc") == known
    monkeypatch.setattr(files, "CHUNK", 2)
    assert files.sha256_of(tmp_path / "abc") == known


@pytest.mark.parametrize(("content", "words"), [(None, "missing"), (b"{", "not JSON"), (b"\xff\xfe", "not JSON"), (b"", "not JSON")])
def test_a_file_without_json_is_one_line(tmp_path, content, words):
    path = tmp_path / "card.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RunError, match=words) as error:
        files.read_json(path)
    assert str(path) in str(error.value)


def test_tensors_come_back_as_they_were_written(tmp_path):
    tensors = {
        "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "part": torch.arange(10)[::2],
        "trained": torch.nn.Parameter(torch.randn(3)),
        "number": torch.tensor(7),
    }
    files.write_tensors(tmp_path / "a.safetensors", tensors)
    found = files.read_tensors(tmp_path / "a.safetensors")
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    files.write_tensors(tmp_path / "none.safetensors", {})
    assert files.read_tensors(tmp_path / "none.safetensors") == {}


@pytest.mark.parametrize("start", [b"\x80\x00", b"\x80\x02", b"PK", b" <"], ids=["pickle", "pickle protocol 2", "zip", "page"])
def test_weights_are_read_whatever_the_length_of_their_header(tmp_path, start):
    """A safetensors file starts with the length of its header, which may look like the start of something else."""
    wanted = int.from_bytes(start, "little")
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode().ljust(wanted)
    path = tmp_path / "a.safetensors"
    path.write_bytes(wanted.to_bytes(8, "little") + header + bytes(4))
    assert torch.equal(files.read_tensors(path)["w"], torch.zeros(1))


@pytest.mark.parametrize("keep", [0, 4, 8, 50, -1], ids=["nothing", "part of a length", "length", "part of a header", "all but a byte"])
def test_truncated_weights_are_one_line(tmp_path, keep):
    path = tmp_path / "a.safetensors"
    files.write_tensors(path, {"w": torch.ones(100)})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(RunError, match="no whole safetensors") as error:
        files.read_tensors(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("position", [0, 7, 9, 20])
def test_weights_with_a_damaged_header_are_one_line(tmp_path, position):
    path = tmp_path / "a.safetensors"
    files.write_tensors(path, {"w": torch.ones(100)})
    content = bytearray(path.read_bytes())
    content[position] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"a\.safetensors: "):
        files.read_tensors(path)


class Trap:
    """Unpickling this makes a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("form", ["0", "2", "4", "torch", "torch, old"])
def test_a_pickle_named_safetensors_is_refused_and_not_loaded(tmp_path, form):
    path, trap = tmp_path / "a.safetensors", tmp_path / "the pickle was loaded"
    if form.startswith("torch"):
        torch.save({"w": Trap(trap)}, path, _use_new_zipfile_serialization=form == "torch")
    else:
        path.write_bytes(pickle.dumps({"w": Trap(trap)}, protocol=int(form)))
    with pytest.raises(RunError, match=r"a\.safetensors: .*safetensors"):
        files.read_tensors(path)
    assert not trap.exists()
    if form != "0":
        with pytest.raises(RunError, match="pickle"):
            files.read_tensors(path)
    if form in ("2", "4"):
        pickle.loads(path.read_bytes())["w"].close()
        assert trap.exists()  # the trap works


@pytest.mark.parametrize("page", [b"<!DOCTYPE html><html>not found</html>", b"\n  <html>"])
def test_a_page_named_safetensors_is_refused(tmp_path, page):
    path = tmp_path / "a.safetensors"
    path.write_bytes(page)
    with pytest.raises(RunError, match="HTML page"):
        files.read_tensors(path)


def test_missing_weights_are_one_line(tmp_path):
    with pytest.raises(RunError, match="missing"):
        files.read_tensors(tmp_path / "a.safetensors")


def checkpoint(path: Path) -> tuple[dict, bytes]:
    state = {
        "network": {"w": torch.ones(300)},
        "optimiser": {"state": {0: {"m": torch.ones(4)}}, "param_groups": [{"lr": 0.1}]},
        "epoch": 3,
    }
    files.write_checkpoint(path, state)
    return state, path.read_bytes()


def test_a_checkpoint_comes_back(tmp_path):
    said = []
    state, _ = checkpoint(tmp_path / "a")
    found = files.read_checkpoint(tmp_path / "a", said.append)
    assert torch.equal(found["network"]["w"], state["network"]["w"])
    assert found["optimiser"]["param_groups"] == state["optimiser"]["param_groups"]
    assert files.read_checkpoint(tmp_path / "none", said.append) is None
    assert said == []


def test_a_truncated_checkpoint_counts_as_none_with_a_warning(tmp_path):
    _, whole = checkpoint(tmp_path / "a")
    for length in range(0, len(whole), 97):
        said = []
        (tmp_path / "a").write_bytes(whole[:length])
        assert files.read_checkpoint(tmp_path / "a", said.append) is None
        assert len(said) == 1
        assert said[0].startswith(f"warning: {tmp_path / 'a'}")


def test_a_checkpoint_with_one_wrong_byte_counts_as_none_or_is_the_same(tmp_path):
    state, whole = checkpoint(tmp_path / "a")
    wrong = []
    for position in range(0, len(whole), 31):
        said = []
        content = bytearray(whole)
        content[position] ^= 0x41
        (tmp_path / "a").write_bytes(content)
        try:
            found = files.read_checkpoint(tmp_path / "a", said.append)
            fine = len(said) == 1 if found is None else torch.equal(found["network"]["w"], state["network"]["w"])
        except Exception as error:
            fine, found = False, repr(error)
        wrong += [] if fine else [(position, found)]
    assert wrong == []


def test_noise_in_place_of_a_checkpoint_counts_as_none(tmp_path):
    noise = np.random.default_rng(0)
    for _ in range(60):
        said = []
        (tmp_path / "a").write_bytes(noise.bytes(200))
        assert files.read_checkpoint(tmp_path / "a", said.append) is None
        assert len(said) == 1


HOLD = """
    import sys, time
    from pathlib import Path
    from stages.lib.store import files

    with files.locked(Path(sys.argv[1]), "it"):
        print("held", flush=True)
        sys.stdin.readline()
        Path(sys.argv[2]).write_text("written")
"""


def test_a_second_writer_says_so_and_waits_for_the_first(tmp_path):
    lock, out, said = tmp_path / "locks" / "a.lock", tmp_path / "out", []
    command = [sys.executable, "-c", textwrap.dedent(HOLD), lock, out]
    with subprocess.Popen(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout.readline() == "held\n"

        def log(line: str) -> None:
            said.append(line)
            first.stdin.write("go on\n")
            first.stdin.flush()

        with files.locked(lock, "it", log):
            assert out.read_text() == "written"
    assert len(said) == 1
    assert said[0].startswith("it is being written by another process")


def test_a_lock_is_free_after_its_holder_was_killed(tmp_path):
    lock, said = tmp_path / "a.lock", []
    command = [sys.executable, "-c", textwrap.dedent(HOLD), lock, tmp_path / "out"]
    with subprocess.Popen(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout.readline() == "held\n"
        first.kill()
        first.wait()
        started = time.monotonic()
        with files.locked(lock, "it", said.append):
            assert time.monotonic() - started < 5
    assert said == []


def test_the_state_folder_is_that_of_the_original_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "original"))
    assert files.state_folder() == tmp_path / "original"
    monkeypatch.delenv("DVC_ROOT")
    assert files.state_folder() == tmp_path.resolve()
