"""The store of activations: whole entries or none, within the limit, the longest unused gone first."""

import os
import time

import numpy as np
import pytest

from stages.lib.errors import RunError
from stages.lib.runs import activations
from stages.lib.store import cells


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))


def kept(name: str, n: int = 10, used: int = 0) -> activations.Entry:
    """An entry of 128 + 4 n bytes, last used so many seconds after 1970."""
    found = activations.entry({"source": name}, 1, "train", n, np.arange(n))
    activations.keep(found, (n,), [np.arange(n)])
    os.utime(found.path, (used, used))
    return found


def test_an_entry_comes_back_as_it_was_written_and_its_key_follows_from_all_that_decides_it():
    entry = kept("a")
    assert activations.is_kept(entry)
    assert np.array_equal(entry.stored.load(), np.arange(10, dtype=np.float32))
    assert isinstance(entry.stored.load(), np.memmap)
    changes = [({"source": "b"}, 1, "train", 10), ({"source": "a"}, 2, "train", 10), ({"source": "a"}, 1, "test", 10)]
    others = [activations.entry(*change, np.arange(10)) for change in changes]
    assert len({entry.key, *(other.key for other in others)}) == 4
    assert not any(activations.is_kept(other) for other in others)


def test_an_entry_of_few_images_holds_these_alone_and_one_of_many_holds_all():
    few = activations.entry({}, 0, "train", 100, np.array([70, 3, 3, 21]))
    assert few.rows.tolist() == [3, 21, 70]
    assert few.n_rows(100) == 3
    assert few.stored.places(np.array([70, 3])).tolist() == [2, 0]
    many = activations.entry({}, 0, "train", 100, np.arange(25))
    assert many.rows is None
    assert many.n_rows(100) == 100
    assert many.stored.places(np.array([70, 3])).tolist() == [70, 3]
    assert few.key != many.key != activations.entry({}, 0, "train", 100, np.array([70, 3, 22])).key


@pytest.mark.parametrize("change", [lambda content: content[:-1], lambda content: content[:-1] + b"?", lambda content: b""])
def test_a_damaged_entry_is_removed(change):
    entry = kept("a")
    entry.path.write_bytes(change(entry.path.read_bytes()))
    assert not activations.is_kept(entry)
    assert not entry.path.exists()
    assert cells.load("activations", entry.key) is None


def test_what_was_not_used_for_longest_makes_room():
    old, middle, new = kept("old", used=1), kept("middle", used=2), kept("new", used=3)
    size = old.path.stat().st_size
    assert activations.make_room(size, 3 * size, but=[])
    assert [entry.path.exists() for entry in (old, middle, new)] == [False, True, True]
    assert activations.is_kept(middle)  # and is used by that
    assert activations.make_room(2 * size, 3 * size, but=[])
    assert [entry.path.exists() for entry in (middle, new)] == [True, False]


def test_nothing_is_removed_where_that_would_not_make_room():
    entries = [kept("old", used=1), kept("needed", used=2)]
    size = entries[0].path.stat().st_size
    assert not activations.make_room(2 * size, 2 * size, but=entries[1:])
    assert all(entry.path.exists() for entry in entries)


def test_an_unfinished_file_is_removed_when_nobody_has_written_to_it_for_an_hour():
    folder = kept("a").path.parent
    old, new = folder / ".x.npy.1.part", folder / ".y.npy.1.part"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - activations.ABANDONED_S - 1,) * 2)
    activations.sweep()
    assert not old.exists()
    assert new.exists()


def test_an_entry_that_breaks_off_leaves_nothing():
    entry = activations.entry({}, 1, "train", 10, np.arange(10))
    with pytest.raises(ValueError, match="4 rows came"):
        activations.keep(entry, (10,), [np.arange(4)])
    assert not activations.is_kept(entry)
    assert not list(entry.path.parent.iterdir())


def test_a_full_disk_is_a_clear_error():
    entry = activations.entry({}, 1, "train", 10, np.arange(10))
    if not os.path.exists("/dev/full"):
        pytest.skip("no device that is always full")
    entry.path.parent.mkdir(parents=True)
    temporary = entry.path.with_name(f".{entry.path.name}.{os.getpid()}.part")
    temporary.symlink_to("/dev/full")
    with pytest.raises(RunError, match="No space left on device"):
        activations.keep(entry, (10,), [np.arange(10)])
    assert not activations.is_kept(entry)
