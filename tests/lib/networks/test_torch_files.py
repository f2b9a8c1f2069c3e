"""Checkpoints in both formats of torch, with what dill writes beside the weights, and with what an attacker would write: nothing runs."""

import argparse
import functools
import os
import pickle
import sys
import zipfile
from contextlib import suppress
from pathlib import Path

import checkpoints as made
import dill
import numpy as np
import pytest
import torch
from checkpoints import Call

from stages.lib.errors import RunError
from stages.lib.networks import checkpoints, inert

FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "older"])
CANARY = "canary"  # a file that code in a checkpoint would create


class Parameters:
    """As `cox.utils.Parameters`, in which the `robustness` package keeps its arguments."""

    def __init__(self, params):
        self.params = params

    def __getattr__(self, name):
        return super().__getattribute__("params")[name]

    def __setattr__(self, name, value):
        self.__dict__[name] = value


class Touching:
    """Its attributes cannot be set without a file being created."""

    def __setstate__(self, state):
        Path(CANARY).touch()


def by_value(kind):
    """The class as one of a script, whose code dill writes into the file."""
    content = {name: value for name, value in vars(kind).items() if name not in ("__dict__", "__weakref__")}
    return type(kind.__name__, kind.__bases__, content | {"__module__": "__main__", "__qualname__": kind.__name__})


def closure(rate):
    def decay(epoch):
        return rate ** (epoch // 30) + os.getpid() * 0

    return decay


def with_state(kind):
    held = kind.__new__(kind)
    held.__dict__.update(lr=0.1, schedule=closure(0.5))
    return held


BESIDE = {
    "lambda": lambda: lambda epoch: 0.1**epoch,
    "function with a closure": lambda: closure(0.1),
    "class": lambda: by_value(Parameters),
    "object of a class": lambda: with_state(by_value(Parameters)),
    "object of a class elsewhere": lambda: Parameters({"lr": 0.1}),
    "object whose state runs code": lambda: with_state(by_value(Touching)),
    "argparse.Namespace": lambda: argparse.Namespace(arch="resnet50", lr=0.1, schedule=closure(0.1)),
    "partial": lambda: functools.partial(closure, 0.1),
    "method": lambda: by_value(Parameters)({}).__setattr__,
    "module of Python": lambda: os,
    "property, set and dtype": lambda: [property(closure(1)), {1, (2, 3)}, frozenset("ab"), torch.float16, torch.device("cpu"), slice(1)],
    "numpy": lambda: [np.float64(0.5), np.int64(3), np.arange(3), np.array(["a"], dtype=object), np.random.RandomState(0)],
    "keys": lambda: {(1, 2): "a", np.int64(3): "b", None: "c", 1.5: {"d": closure(0.1)}},
    "module of torch": lambda: torch.nn.Linear(2, 3),
    "state of a schedule": lambda: {"base_lrs": [0.1], "last_epoch": 3, "lr_lambdas": [closure(0.1)], "_step_count": 4},
    "tensors that are none of ours": lambda: [torch.zeros(3).to_sparse(), torch.zeros(2, dtype=torch.complex64)],
}


@pytest.fixture
def state():
    return torch.nn.BatchNorm2d(3).state_dict() | {"weight": torch.arange(24.0).view(4, 6).T[1:, ::2], "half": torch.ones(2).half()}


def read_back(content, state, folder):
    """The tensors of a file are those of the state dict, and nothing ran."""
    (folder / "w.ckpt").write_bytes(content)
    found = checkpoints.read(folder / "w.ckpt").tensors
    assert found.keys() == state.keys()
    for name, tensor in state.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
    assert not (folder / CANARY).exists()


def refused(content, folder) -> str:
    """What is said of a file that is not read; nothing ran."""
    path = folder / "w.ckpt"
    path.write_bytes(content)
    with pytest.raises(RunError) as caught:
        checkpoints.read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 400
    assert not (folder / CANARY).exists()
    return str(caught.value)


@FORMATS
@pytest.mark.parametrize("name", BESIDE)
def test_weights_are_read_beside_what_dill_writes(name, zipped, state, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = made.torch_bytes({"model": state, "beside": BESIDE[name](), "epoch": 3}, zipped, dill)
    read_back(content, state, tmp_path)
    read_back(made.torch_bytes({"a": BESIDE[name](), "state_dict": state}, zipped, dill), state, tmp_path)


def test_a_state_that_runs_code_does_so_in_an_ordinary_reader(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.ckpt").write_bytes(made.torch_bytes({"x": with_state(by_value(Touching))}, pickler=dill))
    torch.load("w.ckpt", pickle_module=dill, weights_only=False)
    assert Path(CANARY).exists()


@FORMATS
def test_a_stand_in_the_place_of_weights_is_named(zipped, state, tmp_path):
    assert "_create_function" in refused(made.torch_bytes({"model": state | {"f": closure(0.1)}}, zipped, dill), tmp_path)
    assert "Linear" in refused(made.torch_bytes({"model": torch.nn.Linear(2, 3)}, zipped), tmp_path)
    assert "'s' is no dense tensor of usual numbers, but a sparse_tensor" in refused(
        made.torch_bytes({"s": torch.zeros(3).to_sparse()}, zipped), tmp_path
    )


SYSTEM, TOUCH = Call(getattr, Call(__import__, "os"), "system"), f"touch {CANARY}"
HOSTILE = {
    "os.system": (lambda: Call(os.system, TOUCH), f"({os.system.__module__}.system)"),
    "eval": (lambda: Call(eval, f"open({CANARY!r}, 'w')"), "eval)"),
    "exec": (lambda: Call(exec, f"open({CANARY!r}, 'w')"), "exec)"),
    "open": (lambda: Call(open, CANARY, "w"), "open)"),
    "chain of getattr": (lambda: Call(SYSTEM, TOUCH), "__import__)"),
    "chain of getattr after dill's import": (lambda: Call(Call(getattr, Call(dill._dill._import_module, "os"), "system"), TOUCH), None),
    "attributes of a module": (lambda: Call(dill._dill._import_module, "os", state={"sep": CANARY}), None),
    "pickle in a pickle": (lambda: Call(pickle.loads, pickle.dumps(Call(os.system, TOUCH))), None),
    "torch.load in a pickle": (lambda: Call(torch.load, CANARY, None, None), None),
}


@FORMATS
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_calls_do_not_run(name, zipped, state, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make, words = HOSTILE[name]
    content = made.torch_bytes({"model": state, "beside": make()}, zipped)
    if words is None:
        read_back(content, state, tmp_path)
    else:
        line = refused(content, tmp_path)
        assert "needs code to be read (" in line
        assert words in line
    assert os.sep == "/"


def call(name: str, *arguments: bytes) -> bytes:
    """Opcodes that call a function."""
    return b"c" + name.replace(" ", "\n").encode() + b"\n(" + b"".join(arguments) + b"tR"


def number(n: int) -> bytes:
    return pickle.dumps(n, 2)[2:-1]


def text(words: str) -> bytes:
    return b"X" + len(words).to_bytes(4, "little") + words.encode()


def storage(key: str = "0", n: int = 3, kind: str = "storage", more: bytes = b"") -> bytes:
    return b"(" + text(kind) + b"ctorch\nFloatStorage\n" + text(key) + text("cpu") + number(n) + more + b"tQ"


def tensor(size: bytes, stride: bytes, offset: bytes = b"K\0", of: bytes = storage()) -> bytes:
    return call("torch._utils _rebuild_tensor_v2", of, offset, b"(" + size + b"t", b"(" + stride + b"t", b"\x89", b"N")


BESIDE_IN_OPCODES = {
    "a tuple 10,000 deep": b")" + b"\x85" * 10_000,
    "a key 10,000 deep": b"}" + b")" + b"\x85" * 10_000 + b"K\x01s",
    "a key of 2^100 tuples": b"})" + b"q\xf0h\xf0\x86" * 100 + b"K\x01s",
    "an element of a set 10,000 deep": b"\x8f(" + b")" + b"\x85" * 10_000 + b"\x90",
    "a list in itself": b"]q\xf0h\xf0a",
    "lists of lists, 2^1000 if they were written out": b"]q\xf0" + b"(h\xf0h\xf0lq\xf0" * 1000,
    "an old-style object": b"(cthere\nThing\nK\x01o",
    "a class with keywords": b"cthere\nThing\n)}\x92",
    "a module that only carries a name": b"cos\nsystem\n",
}
REFUSED_IN_OPCODES = {
    "inst": (b"(" + text(TOUCH) + b"ios\nsystem\n", "(os.system)"),
    "obj": (b"(cos\nsystem\n" + text(TOUCH) + b"o", "(os.system)"),
    "name on the stack": (text("os") + text("system") + b"\x93" + text(TOUCH) + b"\x85R", "(os.system)"),
    "attribute of a name": (text("os") + text("system.__call__") + b"\x93" + text(TOUCH) + b"\x85R", "(os.system.__call__)"),
    "extension": (b"\x82\x01", "the opcode EXT1"),
    "buffer of nothing": (b"\x97", "the opcode NEXT_BUFFER"),
    "call of text": (text("os.system") + b")R", "a call of str"),
    "persistent id of a path": (text("/etc/passwd") + b"Q", "a persistent id that is no storage"),
    "persistent id in text": (b"P/etc/passwd\n", "the opcode PERSID"),
    "persistent id of another kind": (storage(kind="file"), "a persistent id that is no storage"),
    "view of another storage": (storage(more=b"(" + text("1") + b"K\0K\1t"), "a persistent id that is no storage"),
    "key outside the archive": (storage("../../../etc/passwd"), "key or length"),
    "length below zero": (storage(n=-1), "key or length"),
    "text of 2^60 characters": (b"\x8d" + (1 << 60).to_bytes(8, "little") + b"a", "ValueError"),
    "integer of 2^30 bytes": (b"\x8b" + (1 << 30).to_bytes(4, "little") + b"a", "ValueError"),
    "more objects than a checkpoint has": (b"]0" * 50_000 + b"N", "100,000 opcodes"),
    "no such place in the memo": (b"h\xf7", "KeyError"),
    "mark of nothing": (b"t", "IndexError"),
}
WEIGHTS_IN_OPCODES = {
    "beyond the storage": (tensor(b"K\x04", b"K\1"), "beyond its storage"),
    "beyond the storage by its offset": (tensor(b"K\x03", b"K\1", b"K\x01"), "beyond its storage"),
    "beyond the storage by its steps": (tensor(b"K\x02", b"K\x03"), "beyond its storage"),
    "one number, a trillion times": (tensor(number(1 << 40), b"K\0"), "beyond its storage"),
    "offset below zero": (tensor(b"K\x01", b"K\1", number(-1)), "a shape that is none"),
    "size below zero": (tensor(number(-2), b"K\1"), "a shape that is none"),
    "size with a fraction": (tensor(b"G" + b"\0" * 8, b"K\1"), "a shape that is none"),
    "size of more axes": (tensor(b"K\1K\1", b"K\1"), "ValueError"),
    "storage longer than the file": (tensor(b"K\x03", b"K\1", of=storage(n=1 << 40)), "storage"),
    "storage that is not there": (tensor(b"K\x03", b"K\1", of=storage("7")), "KeyError"),
    "storage of text": (tensor(b"K\x03", b"K\1", of=text("0")), "without a storage"),
    "arguments missing": (call("torch._utils _rebuild_tensor_v2", b"K\1"), "TypeError"),
}


@FORMATS
@pytest.mark.parametrize("name", BESIDE_IN_OPCODES)
def test_weights_are_read_beside_opcodes_that_make_nothing_of_use(name, zipped, state, tmp_path):
    read_back(made.with_opcodes(state, BESIDE_IN_OPCODES[name], zipped), state, tmp_path)


@FORMATS
@pytest.mark.parametrize("name", REFUSED_IN_OPCODES)
def test_hostile_opcodes_are_refused(name, zipped, state, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(inert, "MOST_OPCODES", 100_000)
    opcodes, words = REFUSED_IN_OPCODES[name]
    assert words in refused(made.with_opcodes(state, opcodes, zipped), tmp_path)


@FORMATS
@pytest.mark.parametrize("name", WEIGHTS_IN_OPCODES)
def test_weights_that_do_not_lie_in_their_storage_are_refused(name, zipped, tmp_path):
    opcodes, words = WEIGHTS_IN_OPCODES[name]
    line = refused(made.with_opcodes({"first": torch.zeros(3), "second": made.HERE}, opcodes, zipped), tmp_path)
    assert words in line or (not zipped and "KeyError" in line), "an older file names each storage once"


def test_a_zip_that_grows_as_it_is_read_is_refused(state, tmp_path):
    content = made.rewritten(made.torch_bytes({"model": state}), lambda name, held: held, zipfile.ZIP_DEFLATED)
    assert "is compressed" in refused(content, tmp_path)


def test_other_zips_are_refused(state, tmp_path):
    whole = made.torch_bytes({"model": state})
    assert "first byte is the highest" in refused(
        made.rewritten(whole, lambda name, held: b"big" if name == "byteorder" else held), tmp_path
    )
    assert "does not have" in refused(made.rewritten(whole, lambda name, held: held[:-1] if name == "data/0" else held), tmp_path)
    (tmp_path / "a").write_bytes(b"a")
    with zipfile.ZipFile(tmp_path / "z", "w") as archive:
        archive.write(tmp_path / "a")
    assert "0 files <name>/data.pkl" in refused((tmp_path / "z").read_bytes(), tmp_path)


@FORMATS
def test_a_file_with_any_byte_changed_gives_tensors_or_is_refused(zipped, tmp_path):
    """Bytes of the pickle and of what lies around it, each changed by itself; an exception of another kind fails the test."""
    whole, random = made.torch_bytes({"model": {"w": torch.arange(3.0)}, "f": closure(0.1)}, zipped, dill), np.random.default_rng(0)
    path = tmp_path / "w.ckpt"
    for _ in range(100):
        changed = bytearray(whole)
        changed[random.integers(len(whole))] = random.integers(256)
        path.write_bytes(changed)
        with suppress(RunError):
            checkpoints.read(path)


def test_names_of_a_kind_that_no_network_has_are_refused(tmp_path):
    assert "name of 100,007 characters" in refused(made.torch_bytes({"model." + "a" * 100_001: torch.ones(1)}), tmp_path)
    assert "holds no state dict" in refused(made.torch_bytes({1: torch.ones(1)}), tmp_path)


def test_weights_are_finite(tmp_path):
    assert "the tensor fc.weight holds" in refused(made.torch_bytes({"fc.weight": torch.tensor([1.0, torch.nan])}), tmp_path)


@pytest.mark.parametrize("mean", [torch.ones(2), torch.ones(70_000)])
def test_a_normaliser_has_three_numbers(mean, tmp_path):
    state = {"module.normalizer.new_mean": mean, "module.normalizer.new_std": torch.ones(3), "module.model.w": torch.ones(1)}
    assert "three numbers each" in refused(made.torch_bytes({"model": state}), tmp_path)


def test_the_reader_imports_nothing_that_a_file_names(state, tmp_path):
    read_back(made.with_opcodes(state, b"cantigravity\nfly\n)R", zipped=True), state, tmp_path)
    assert "antigravity" not in sys.modules
