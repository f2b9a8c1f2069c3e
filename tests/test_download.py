"""Raw sets: drawn from a seed, copied out of a package, brought from a server, put there by hand, or listed; and verified."""

import gzip
import hashlib
import json

import numpy as np
import pytest
import served
from repository import dumped, loaded

from stages import download, upscale
from stages.lib.datasets.kinds.base import bring_file
from stages.lib.datasets.sets import RAW, card_of, load
from stages.lib.errors import RunError
from stages.lib.settings import params
from stages.lib.settings.catalog import File


def test_a_procedural_set_is_the_same_every_time(workspace):
    download.main("glyphs")
    first = {path.name: path.read_bytes() for path in (workspace.folder / "data/raw/glyphs").iterdir()}
    download.main("glyphs")
    assert {path.name: path.read_bytes() for path in (workspace.folder / "data/raw/glyphs").iterdir()} == first
    assert set(first) == {f"{split}_{array}.npy" for split in ("train", "test", "test_decorrelated") for array in "xy"}


def test_the_digits_are_the_handwriting_that_scikit_learn_carries(workspace):
    download.main("digits")
    with gzip.open(workspace.folder / "data/raw/digits/digits.csv.gz", "rt") as file:
        assert np.loadtxt(file, delimiter=",").shape == (1797, 65)


def test_a_wrong_checksum_leaves_nothing(workspace):
    workspace.edit("data/catalog.yaml", digits__sha256="0" * 64)
    with pytest.raises(RunError, match=r"sha256 is 09f66e6d.*allowed: 0000"):
        download.main("digits")
    assert not list((workspace.folder / "data/raw/digits").glob("*"))


def test_a_package_that_is_not_installed_is_named(workspace):
    workspace.edit("data/catalog.yaml", digits__package="no_such_package.data")
    with pytest.raises(RunError, match=r"data/catalog.yaml: digits.package is 'no_such_package.data'"):
        download.main("digits")


# Published sets, from a server on this machine


@pytest.fixture
def server():
    with served.Server({}) as server:
        yield server


def add(repository, name: str, entry: dict) -> None:
    """An entry in the catalog, and its set among those that are used."""
    catalog = loaded(repository.text("data/catalog.yaml"))
    catalog[name] = entry
    (repository.folder / "data/catalog.yaml").write_text(dumped(catalog))
    datasets = loaded(repository.text("params.yaml"))["datasets"]
    repository.edit("params.yaml", datasets=list(dict.fromkeys([*datasets, name])), download__attempts=1)


def publish(repository, server, name: str, train: int = 100, test: int = 100) -> dict[str, bytes]:
    """A miniature of a published set on the server, under the real entry with the checksums of the miniature."""
    repository.environment |= server.environment
    made = served.SETS[name](np.random.default_rng(0), train=train, test=test)
    entry = loaded(repository.text("data/catalog.yaml"))[name]
    add(repository, name, entry | {"train": train, "test": test, "files": server.listed(made, within=f"{name}/")})
    return made


def inside(repository, name: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (repository.folder / "data/raw" / name).glob("*")}


@pytest.mark.parametrize("name", served.SETS)
def test_a_published_set_arrives_and_is_read(workspace, server, name):
    made = publish(workspace, server, name)
    download.main(name)
    assert inside(workspace, name) == made
    assert all(len(server.asked_for(f"{name}/{file}")) == 1 for file in made)
    upscale.main(name)
    card = card_of(name)
    assert {split: counted.n for split, counted in card.splits.items()} == {"train": 100, "test": 100}
    assert load(name, "train")[0].shape == (100, 16, 16, card.channels)
    assert len(np.unique(load(name, "test")[1])) == card.classes


def test_an_archived_folder_arrives_and_is_read(workspace, server):
    archive = served.folder_archive(np.random.default_rng(0), train=5, test=2, classes=3)
    add(workspace, "mine", {"kind": "folder", "files": server.listed({"mine.zip": archive})})
    download.main("mine")
    upscale.main("mine")
    assert {split: counted.n for split, counted in card_of("mine").splits.items()} == {"train": 15, "test": 6}


@pytest.mark.parametrize("word", ["404", "500", "page", "other", "cut:100", "silent:1"])
def test_a_fault_of_the_server_is_one_line_and_leaves_no_output(workspace, server, word):
    publish(workspace, server, "cifar10")
    workspace.edit("params.yaml", download__timeout_s=0.2)
    server.plans["cifar10/cifar-10-python.tar.gz"] = [word]
    with pytest.raises(RunError, match=r"Put the file at data/raw/cifar10/cifar-10-python\.tar\.gz by hand") as error:
        download.main("cifar10")
    assert "\n" not in str(error.value)
    assert server.address("cifar10/cifar-10-python.tar.gz") in str(error.value)
    assert not inside(workspace, "cifar10")


def test_what_is_not_of_the_entry_is_removed_when_all_of_it_is_there(workspace, server, capsys):
    made = publish(workspace, server, "kmnist")
    folder = workspace.folder / "data/raw/kmnist"
    (folder / "older").mkdir(parents=True)
    (folder / "older.gz").write_bytes(b"x")
    server.plans["kmnist/t10k-labels-idx1-ubyte.gz"] = ["404"]
    with pytest.raises(RunError):
        download.main("kmnist")
    assert (folder / "older.gz").exists()
    server.plans.clear()
    download.main("kmnist")
    assert inside(workspace, "kmnist") == made
    assert "data/raw/kmnist/older.gz: removed, as it is not of data/catalog.yaml: kmnist" in capsys.readouterr().err


def test_a_cifar_archive_without_a_checksum_is_refused_before_it_is_brought(workspace, server):
    publish(workspace, server, "cifar10")
    entry = loaded(workspace.text("data/catalog.yaml"))["cifar10"]
    workspace.edit("data/catalog.yaml", cifar10__files=[{key: entry["files"][0][key] for key in ("name", "mirrors")}])
    with pytest.raises(RunError, match=r"data/catalog\.yaml: cifar10\.files: cifar-10-python\.tar\.gz holds pickles"):
        download.main("cifar10")
    assert not server.asked


# Put there by hand


def put(repository, name: str, files: dict[str, bytes]) -> None:
    for file, content in files.items():
        path = repository.folder / "data/raw" / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def test_a_file_put_there_by_hand_is_verified_and_used_without_a_network(workspace, server):
    made = publish(workspace, server, "kmnist")
    server.plans = {f"kmnist/{name}": ["500"] for name in made}
    put(workspace, "kmnist", made)
    download.main("kmnist")
    assert not server.asked
    assert inside(workspace, "kmnist") == made


def test_through_dvc_files_put_there_by_hand_stay_a_damaged_one_is_brought_again_and_another_entry_keeps_none(empty, server):
    """DVC deletes the outs of a stage before it runs, but for those that persist."""
    made = publish(empty, server, "kmnist")
    labels = "t10k-labels-idx1-ubyte.gz"
    put(empty, "kmnist", made | {labels: b"damaged", "of an earlier entry.gz": b"x"})
    server.plans[f"kmnist/{labels}"] = ["404", "whole"]
    failed = empty.dvc("repro", "download@kmnist", ok=False)
    (line,) = [line for line in failed.stderr.splitlines() if line.startswith("error: ")]
    assert (
        f"data/raw/kmnist/{labels}: it has 7 bytes; allowed: {len(made[labels])}; {server.address(f'kmnist/{labels}')}: the server answered 404"
        in line
    )
    assert inside(empty, "kmnist")[labels] == b"damaged"
    assert empty.repro("upscale@kmnist")[-2:] == ["download@kmnist", "upscale@kmnist"]
    assert inside(empty, "kmnist") == made
    assert {request.name for request in server.asked} == {f"kmnist/{labels}"}
    first = empty.text("data/images/kmnist/card.json")
    assert json.loads(first)["splits"]["train"]["n"] == 100

    archive = {"kmnist.tar.gz": served.folder_archive(np.random.default_rng(0), kind="gz")}
    add(empty, "kmnist", {"kind": "folder", "files": server.listed(archive)})
    assert empty.repro("upscale@kmnist") == ["check", "download@kmnist", "upscale@kmnist"]
    assert inside(empty, "kmnist") == archive
    assert empty.text("data/images/kmnist/card.json") != first
    assert empty.repro("upscale@kmnist") == []


@pytest.mark.parametrize("content", [b"the archive", b"another archive of this name"])
def test_a_file_that_another_set_has_brought_is_taken_from_there_where_it_is_the_same(workspace, content):
    (RAW / "whole").mkdir(parents=True)
    (RAW / "whole/archive.tar.gz").write_bytes(content)
    mirror = workspace.folder / "mirror.tar.gz"
    file = File(name="archive.tar.gz", mirrors=[str(mirror)], sha256=hashlib.sha256(b"the archive").hexdigest())
    if content != b"the archive":
        mirror.write_bytes(b"the archive")
    assert bring_file("half", file, params.section("download")) == "archive.tar.gz"
    assert (RAW / "half/archive.tar.gz").read_bytes() == b"the archive"
