"""The reader of pickles against Python's own, on plain values; what it makes of anything else is in test_torch_files.py."""

import io
import pickle
from collections import OrderedDict

import pytest

from stages.lib.networks import inert, torch_files
from stages.lib.networks.inert import Stand

PLAIN = {
    "numbers": [0, 1, 255, 256, 65536, -1, 1 << 40, -(1 << 80), 1.5, float("inf"), True, False, None],
    "text": ["", "a", "ü" * 300, "line\nbreak", "\\N{DASH}"],
    "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, (4, 5))],
    "lists": [[], [1], [[1, 2], [3]], list(range(1500))],
    "dictionaries": {"a": {1: 2, None: {}}, "b": {str(i): i for i in range(1500)}},
    "ordered": OrderedDict(a=1, b=OrderedDict(c=2)),
}


def load(content):
    return inert.load(io.BytesIO(content), torch_files.KNOWN, lambda identifier: identifier)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", PLAIN)
def test_plain_values_are_what_they_were(name, protocol):
    assert load(pickle.dumps(PLAIN[name], protocol)) == PLAIN[name]


@pytest.mark.parametrize("protocol", range(3, 6))
def test_bytes_are_what_they_were(protocol):
    values = [b"", b"abc", b"d" * 300]
    assert load(pickle.dumps(values, protocol)) == values


def test_what_is_there_twice_is_one_object():
    shared = []
    found = load(pickle.dumps([shared, {"a": shared}]))
    assert found[0] is found[1]["a"]


@pytest.mark.parametrize("protocol", range(6))
def test_everything_else_is_a_stand_of_its_name(protocol):
    found = load(pickle.dumps([len, {1, 2}, complex(1, 2)], protocol))
    assert all(isinstance(stand, Stand) for stand in found)
    assert [stand.name.rpartition(".")[2] for stand in found] == ["len", "set", "complex"]


def test_keys_that_are_no_plain_values_are_left_out():
    assert load(pickle.dumps({"a": 1, (1, 2): 2, frozenset(): 3})) == {"a": 1}


def test_several_pickles_of_a_file_are_read_one_after_the_other():
    file = io.BytesIO(pickle.dumps(1) + pickle.dumps([2]))
    assert [inert.load(file, {}, lambda identifier: identifier) for _ in range(2)] == [1, [2]]
