"""Files that are not what they should be, weights and folders of images: each is refused with one line that says what it has to say."""

import io
import os
import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import checkpoints as made
import numpy as np
import pytest
import served
import torch
from PIL import Image
from safetensors.torch import save

from stages import source
from stages.lib.datasets.kinds.folder import Folder
from stages.lib.errors import RunError
from stages.lib.networks import units
from stages.lib.networks.families import small_resnet
from stages.lib.settings.catalog import Fetched
from stages.lib.settings.sections import DownloadSettings
from stages.lib.store import files

DOWNLOAD = DownloadSettings(timeout_s=5, attempts=1)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """The current folder, empty."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    return tmp_path


def refusal(attempt: Callable[[], object]) -> str:
    """The one line with which an attempt ends."""
    with pytest.raises(RunError) as error:
        attempt()
    assert "\n" not in str(error.value)
    return str(error.value)


# Weights

STATE = small_resnet.published("small_resnet", 4).state_dict()
FIRST = STATE["conv1.weight"]
OURS = units.build("small_resnet", 4, [0.5] * 3, [0.25] * 3).state_dict()


def with_first(first: torch.Tensor, zipped: bool = True) -> bytes:
    """A state dict of torch with another first tensor."""
    return made.torch_bytes(STATE | {"conv1.weight": first}, zipped)


def with_normaliser(mean: list[float], std: list[float], dtype: torch.dtype = torch.float32) -> bytes:
    """A checkpoint as the `robustness` library writes it, with another normaliser."""
    moments = {f"module.normalizer.new_{name}": torch.tensor(values).to(dtype) for name, values in (("mean", mean), ("std", std)) if values}
    return made.torch_bytes({"model": {f"module.model.{name}": tensor for name, tensor in STATE.items()} | moments})


WEIGHTS = {
    "no number": (lambda: with_first(FIRST * torch.nan), "w.pt: the tensor conv1.weight holds values that are no numbers, infinite or beyond float32"),
    "infinite": (lambda: with_first(FIRST / 0, zipped=False), "w.pt: the tensor conv1.weight holds values that are no numbers, infinite"),
    "infinite in float32": (lambda: with_first(FIRST.double() + 1e300), "w.pt: the tensor conv1.weight holds values that are no numbers, infinite or beyond float32"),
    "no number, safetensors": (lambda: save(STATE | {"conv1.weight": FIRST * torch.nan}), "w.pt: the tensor conv1.weight holds values that are no numbers"),
    "int8": (lambda: with_first(FIRST.to(torch.int8)), "models/catalog.yaml: brought: w.pt is no small_resnet with 4 classes: weights do not fit the architecture: 1 integers, as stem.conv1.weight"),
    "complex": (lambda: with_first(FIRST.to(torch.complex64)), "w.pt: the tensor conv1.weight holds complex numbers (torch.complex64); allowed: real numbers"),
    "sparse": (lambda: with_first(FIRST.to_sparse()), "w.pt: 'conv1.weight' is no dense tensor of usual numbers, but a sparse_tensor; allowed: dense tensors"),
    "sparse, older file": (lambda: with_first(FIRST.to_sparse(), zipped=False), "w.pt: 'conv1.weight' is no dense tensor of usual numbers, but a sparse_tensor"),
    "meta": (lambda: with_first(FIRST.to("meta")), "w.pt: 'conv1.weight' is no dense tensor of usual numbers, but a meta_tensor_no_storage"),
    "float8": (lambda: with_first(FIRST.to(torch.float8_e4m3fn)), "w.pt: 'conv1.weight' is no dense tensor of usual numbers, but a tensor_v3"),
    "names that are no text": (lambda: made.torch_bytes({1: FIRST} | STATE), "w.pt: holds no state dict; found: 1, conv1.weight, "),
    "a whole network": (lambda: made.torch_bytes(small_resnet.published("small_resnet", 4)), "w.pt: needs code to be read (stages.lib.networks.layers.small_resnet.SmallResNet)"),
    "five channels": (lambda: with_normaliser([0.5] * 5, [0.2] * 5), "w.pt: normalises with mean [0.5, 0.5, 0.5, 0.5"),
    "std 0": (lambda: with_normaliser([0.5] * 3, [0.5, 0.0, 0.5]), "w.pt: normalises with mean [0.5, 0.5, 0.5] and std [0.5, 0.0, 0.5]; allowed: three numbers each, those of std above 0"),
    "std 0, safetensors": (lambda: save(OURS | {"normalise.std": torch.zeros(1, 3, 1, 1)}), "w.pt: normalises with mean [0.5, 0.5, 0.5] and std [0.0, 0.0, 0.0]"),
    "mean without std": (lambda: with_normaliser([0.5] * 3, []), "w.pt: normalises with mean [0.5, 0.5, 0.5] and std None; allowed: three numbers each"),
    "complex normaliser": (lambda: with_normaliser([0.5] * 3, [0.5] * 3, torch.complex64), "w.pt: the tensor module.normalizer.new_mean holds complex numbers"),
    "variance below 0": (lambda: made.torch_bytes(STATE | {"bn1.running_var": -STATE["bn1.running_var"]}), "w.pt: the tensor bn1.running_var holds variances below 0"),
}  # fmt: skip


def fetched(path: Path, **known: str) -> str:
    """The sha256 of a file of weights that becomes a source."""
    file = {"name": path.name, "mirrors": [str(path)]} | known
    entry = {"kind": "fetched", "architecture": "small_resnet", "dataset": "glyphs", "threat": None, "classes": 4, "file": file,
             "mean": [0.5] * 3, "std": [0.25] * 3}  # fmt: skip
    network, sha256 = source.fetched("brought", Fetched(**entry), DOWNLOAD)
    assert network(torch.zeros(1, 3, 32, 32)).isfinite().all()
    return sha256


@pytest.mark.parametrize("fault", WEIGHTS)
def test_weights_that_are_none_are_refused(fault, folder):
    content, said = WEIGHTS[fault]
    (folder / "w.pt").write_bytes(content())
    assert said in refusal(lambda: fetched(folder / "w.pt"))


@pytest.mark.parametrize("known", ["nothing", "eight digits", "md5"])
def test_of_weights_without_a_whole_sha256_the_first_that_came_hold(known, folder, capsys):
    path, note = folder / "w.pt", folder / "models/fetched/w.pt.sha256"
    path.write_bytes(with_first(FIRST))
    first = files.sha256_of(path)
    says = {"nothing": {}, "eight digits": {"sha256": first[:8]}, "md5": {"md5": served.md5(path.read_bytes())}}[known]
    assert fetched(path, **says) == first
    assert f"better still, its entry says `sha256: {first}`" in capsys.readouterr().err
    assert note.read_text() == f"{first}  w.pt\n"
    assert fetched(path, **says) == first

    another = first[:8] + first[:7:-1]  # as if the first that came had been another file of the same digits
    note.write_text(f"{another}  w.pt\n")
    line = refusal(lambda: fetched(path, **says))
    assert f"{path}: sha256 is {first}; allowed: {another}; nothing is kept" in line
    assert line.endswith(f"{note} allows the file of the first fetch alone; delete it to accept another one")
    note.write_text("what?")
    assert refusal(lambda: fetched(path, **says)) == f"{note}: holds no sha256; delete it, and the next fetch writes it anew"
    note.unlink()
    assert fetched(path, **says) == first


# Folders of images


def put(path: str, content: bytes) -> Callable[[Path], object]:
    return lambda root: (root / path).write_bytes(content)


def a_socket(root: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made, pytest.MonkeyPatch.context() as patch:
        patch.chdir(root / "train/class_0")  # the path of a socket must be short
        made.bind("9.png")


FOLDERS = {
    "FIFO": (lambda root: os.mkfifo(root / "train/class_0/9.png"), "train/class_0/9.png: has the name of an image and is a FIFO, socket or device; allowed: files. Rename or remove it"),
    "socket": (a_socket, "train/class_0/9.png: has the name of an image and is a FIFO, socket or device"),
    "device": (lambda root: (root / "train/class_0/9.png").symlink_to("/dev/zero"), "train/class_0/9.png: has the name of an image and is a FIFO, socket or device"),
    "link to nothing": (lambda root: (root / "test/class_1/9.png").symlink_to("elsewhere"), "test/class_1/9.png: has the name of an image and is a link to nothing"),
    "link to itself": (lambda root: (root / "test/class_1/9.png").symlink_to("9.png"), "test/class_1/9.png: has the name of an image and is a link to nothing"),
    "folder": (lambda root: (root / "train/class_0/9.png").mkdir(), "train/class_0/9.png: has the name of an image and is a folder"),
    "a name that is no UTF-8": (lambda root: Path(os.fsdecode(bytes(root / "train/class_0") + b"/\xe9.png")).write_bytes(b""), r"train/class_0/\xe9.png: its name is not UTF-8"),
    "a name of two lines": (put("train/class_0/9\n.png", b""), r"train/class_0/9\n.png: its name is not UTF-8, or holds a line break; rename it"),
    "no image": (put("train/class_0/9.png", served.PAGE), "train/class_0/9.png: not an image that can be read (no known format); replace or remove it"),
    "half of an image": (put("train/class_0/9.png", served.picture(np.random.default_rng(0), 40, 40)[:500]), "train/class_0/9.png: not an image that can be read"),
    "notes of a camera that are none": (lambda root: with_notes(root / "train/class_0/9.jpg", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + bytes(40)), None),
}  # fmt: skip


def with_notes(path: Path, notes: bytes) -> None:
    Image.open(io.BytesIO(served.picture(np.random.default_rng(0), 40, 40))).save(path, "JPEG", exif=notes)


@pytest.fixture(scope="module")
def members() -> dict[str, bytes]:
    return served.folder(np.random.default_rng(0), {"train": 2, "test": 1})


def read(entry: Folder) -> int:
    """How many images of the entry are brought and decoded."""
    entry.bring("mine", DOWNLOAD)
    with closing(entry.read("mine", 16)) as splits:
        return sum(len(x[:]) for _, x, _ in splits)


@pytest.mark.parametrize("fault", FOLDERS)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_folder_that_holds_something_else_is_one_line(fault, members, folder):
    damage, said = FOLDERS[fault]
    for path, content in members.items():
        (folder / "images" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "images" / path).write_bytes(content)
    damage(folder / "images")
    entry = Folder(kind="folder", path="images")
    if said is None:
        assert read(entry) == len(members) + 1
    else:
        assert f"{folder}/images/{said}" in refusal(lambda: read(entry))


ARCHIVED = {
    "no image": ({"images/train/class_1/9.png": served.PAGE}, "mine.zip/images/train/class_1/9.png: not an image that can be read"),
    "an empty class": ({"images/train/class_9/notes.txt": b""}, "mine.zip/images/train/class_9: a class without an image"),
}  # fmt: skip


@pytest.mark.parametrize("fault", ARCHIVED)
def test_what_is_wrong_in_an_archive_is_named_by_its_place_there(fault, members, folder):
    others, said = ARCHIVED[fault]
    (folder / "mine.zip").write_bytes(served.zipped({f"images/{path}": content for path, content in members.items()} | others))
    entry = Folder(kind="folder", files=[{"name": "mine.zip", "mirrors": [str(folder / "mine.zip")]}])
    line = refusal(lambda: read(entry))
    assert line.startswith("data/raw/mine/mine.zip")
    assert said in line
