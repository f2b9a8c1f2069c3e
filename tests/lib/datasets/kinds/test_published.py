"""The sets of torchvision: what its classes read from miniatures in the real formats is what was put in, and damage is one line."""

import gzip
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import served
from torchvision import datasets

from stages.lib.datasets import catalog, sets
from stages.lib.datasets.kinds import published
from stages.lib.datasets.kinds.published import Published
from stages.lib.errors import RunError
from stages.lib.settings import params
from stages.lib.store.files import write_bytes

ROOT = Path(__file__).resolve().parents[4]
SEED = 0


@pytest.fixture
def raw(tmp_path) -> Path:
    return tmp_path / "raw" / "it"


@pytest.fixture
def inside(tmp_path) -> Path:
    """Where archives are unpacked."""
    (tmp_path / "inside").mkdir()
    return tmp_path / "inside"


def put(raw: Path, name: str, files: dict[str, bytes], **known) -> Published:
    """The files of a set, at their place, and its entry, with the checksums of these files."""
    raw.mkdir(parents=True, exist_ok=True)
    for file, content in files.items():
        (raw / file).write_bytes(content)
    entry = catalog.dataset_entry(name, ROOT / params.DATA_CATALOG).model_dump()
    listed = [
        {"name": file, "mirrors": ["http://host.invalid/x"], "sha256": served.sha256(content)} | known for file, content in files.items()
    ]
    return Published(**entry | {"files": listed})


def read(raw: Path, entry: Published, inside: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {split: (np.array(x), y) for split, x, y in published.splits_within(entry, raw, inside)}


@pytest.mark.parametrize("name", served.SETS)
def test_a_set_comes_as_images_and_labels_of_the_types_of_the_contract(raw, inside, name):
    sizes = {"train": 200, "test": 100}
    entry = put(raw, name, served.SETS[name](np.random.default_rng(SEED), **sizes))
    found = read(raw, entry, inside)
    size, channels = (32, 3) if "cifar" in name or name == "svhn" else (28, 1)
    assert entry.native_size(224) == size
    assert {split: (x.shape, x.dtype, y.shape, y.dtype) for split, (x, y) in found.items()} == {
        split: ((n, size, size, channels), np.uint8, (n,), np.int64) for split, n in sizes.items()
    }
    for _, y in found.values():
        assert np.array_equal(np.unique(y), np.arange(entry.classes))


@pytest.mark.parametrize(("name", "shape"), [("cifar10", (32, 32, 3)), ("svhn", (32, 32, 3)), ("mnist", (28, 28))])
def test_images_and_labels_are_those_that_were_written(raw, inside, name, shape):
    """The makers draw images and labels in this order; SVHN writes the digit 0 as 10."""
    entry = put(raw, name, served.SETS[name](np.random.default_rng(SEED), train=50, test=20))
    rng = np.random.default_rng(SEED)
    if name == "cifar10":
        x, y = served.images_and_labels(rng, 70, 10, shape)
        expected = {"train": (x[:50], y[:50]), "test": (x[50:], y[50:])}
    else:
        expected = {split: served.images_and_labels(rng, n, 10, shape) for split, n in (("train", 50), ("test", 20))}
    for split, (x, y) in read(raw, entry, inside).items():
        assert np.array_equal(x.reshape(expected[split][0].shape), expected[split][0])
        assert np.array_equal(y, expected[split][1])


@pytest.mark.parametrize("name", served.SETS)
def test_the_catalog_knows_the_checksums_that_torchvision_knows(name):
    """Those of the archives: a wrong digit in the catalog would refuse the real file."""
    entry = catalog.dataset_entry(name, ROOT / params.DATA_CATALOG)
    entry.check(name)
    kind = getattr(datasets, entry.reader)
    if entry.reader.startswith("CIFAR"):
        known = {kind.filename: kind.tgz_md5}
    elif entry.reader == "SVHN":
        known = {file: md5 for split, (_, file, md5) in kind.split_list.items() if split != "extra"}
    else:
        known = dict(kind.resources)
    assert {file.name: file.md5 for file in entry.files} == known
    for file in entry.files:
        assert len(file.sha256) == 64
        assert file.size > 1000
        assert len(file.mirrors) >= 2
        assert all(mirror.endswith(f"/{file.name}") for mirror in file.mirrors)


def test_torchvisions_own_md5s_of_the_inner_files_stay_as_they_are():
    before = (list(datasets.CIFAR10.train_list), dict(datasets.CIFAR10.meta), dict(datasets.SVHN.split_list))
    assert {md5 for _, md5 in published._without_md5s(datasets.CIFAR10).train_list} == {None}
    assert published._without_md5s(datasets.SVHN).split_list["train"][2] is None
    assert (datasets.CIFAR10.train_list, datasets.CIFAR10.meta, datasets.SVHN.split_list) == before


def refusal(raw: Path, entry: Published, inside: Path) -> str:
    with pytest.raises(RunError) as error:
        read(raw, entry, inside)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_an_archive_that_is_not_the_one_of_the_catalog_is_not_read(raw, inside):
    entry = put(raw, "cifar10", served.cifar10(np.random.default_rng(SEED)), md5="0" * 32)
    assert "cifar-10-python.tar.gz: md5 is" in refusal(raw, entry, inside)
    assert not list(inside.iterdir())
    (raw / "cifar-10-python.tar.gz").unlink()
    assert "the file is missing; run `dvc repro download@it`" in refusal(raw, entry, inside)


class Trap:
    def __reduce__(self):
        return open, ("the pickle was loaded", "w")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cifar-10-batches-py/data_batch_3": None}, "RuntimeError: Dataset not found or corrupted"),
        ({"cifar-10-batches-py/data_batch_3": b""}, "EOFError"),
        ({"cifar-10-batches-py/test_batch": b"<html>"}, "UnpicklingError"),
        ({"cifar-10-batches-py/data_batch_1": pickle.dumps({"labels": [1]})}, "KeyError: 'data'"),
        ({"cifar-10-batches-py/batches.meta": None}, "metadata file not found"),
    ],
)
def test_a_cifar_archive_with_damaged_content_is_one_line(raw, inside, changes, said):
    (archive,) = served.cifar10(np.random.default_rng(SEED)).values()
    line = refusal(raw, put(raw, "cifar10", {"cifar-10-python.tar.gz": served.repacked(archive, changes)}), inside)
    assert line.startswith(f"{raw}: torchvision.datasets.CIFAR10 cannot read the ")
    assert said in line


@pytest.mark.parametrize("known", [{}, {"sha256": "01234567"}, {"md5": "0" * 32}], ids=["nothing", "eight digits", "md5"])
def test_a_cifar_archive_without_a_whole_sha256_is_refused_before_it_is_read(known, raw, inside, monkeypatch, tmp_path):
    """It holds pickles, and reading one may run code."""
    monkeypatch.chdir(tmp_path)
    (archive,) = served.cifar10(np.random.default_rng(SEED)).values()
    trapped = served.repacked(archive, {"cifar-10-batches-py/data_batch_1": pickle.dumps(Trap())})
    entry = put(raw, "cifar10", {"cifar-10-python.tar.gz": trapped}, **{"sha256": None} | known)
    with pytest.raises(RunError, match="holds pickles, which could run code; give its whole sha256"):
        entry.check("it")
    with pytest.raises(RunError, match="holds pickles"):
        read(raw, entry, inside)
    assert not Path("the pickle was loaded").exists()


@pytest.mark.parametrize(
    "damage",
    [lambda c: c[: len(c) // 2], lambda _: b"", lambda _: served.PAGE, lambda c: c[: len(c) // 2] + bytes(20) + c[len(c) // 2 + 20 :]],
)
@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("svhn", "test_32x32.mat"),
        ("mnist", "t10k-images-idx3-ubyte.gz"),
        ("kmnist", "train-labels-idx1-ubyte.gz"),
        ("cifar100", "cifar-100-python.tar.gz"),
    ],
)
def test_a_damaged_file_is_one_line(raw, inside, name, file, damage):
    files = served.SETS[name](np.random.default_rng(SEED))
    entry = put(raw, name, files | {file: damage(files[file])})
    line = refusal(raw, entry, inside)
    assert line.startswith((f"{raw / file}: ", f"{raw}: torchvision.datasets."))


@pytest.mark.parametrize(
    "content", [struct.pack(">4i", 0x803, 9, 28, 28) + bytes(100), b"\0\0\x0d\x03" + bytes(100), b"abc"], ids=["short", "floats", "start"]
)
def test_an_idx_file_that_does_not_hold_what_its_header_says_is_one_line(raw, inside, content):
    files = served.mnist(np.random.default_rng(SEED)) | {"train-images-idx3-ubyte.gz": gzip.compress(content)}
    assert "torchvision.datasets.MNIST cannot read the train split" in refusal(raw, put(raw, "mnist", files), inside)


def test_files_of_another_set_are_refused_by_name(raw):
    entry = put(raw, "svhn", served.svhn(np.random.default_rng(SEED))).model_copy(update={"reader": "CIFAR10"})
    with pytest.raises(RunError, match=r"it\.files are test_32x32\.mat, train_32x32\.mat; allowed for CIFAR10: cifar-10-python\.tar\.gz"):
        entry.check("it")


def test_the_raw_splits_of_a_published_set_come_from_its_archives_and_leave_nothing_extracted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    entry = catalog.dataset_entry("svhn", ROOT / params.DATA_CATALOG)
    made = served.svhn(np.random.default_rng(0), train=30, test=20)
    for name, content in made.items():
        write_bytes(sets.RAW / "svhn" / name, content)
    known = [{"size": len(made[f.name]), "md5": None, "sha256": None} for f in entry.files]
    entry = entry.model_copy(update={"files": [f.model_copy(update=k) for f, k in zip(entry.files, known, strict=True)]})
    assert {split: (len(x), len(y)) for split, x, y in entry.read("svhn", 16)} == {"train": (30, 30), "test": (20, 20)}
    assert not list((tmp_path / ".cells/extracted").iterdir())
