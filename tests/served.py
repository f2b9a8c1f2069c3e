"""Published files in miniature, in the formats of the real ones, and a web server on this machine that serves them, well or badly."""

import gzip
import hashlib
import io
import os
import pickle
import struct
import tarfile
import threading
import time
import zipfile
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

import numpy as np
import scipy.io
from PIL import Image
from repository import Repository, loaded

PAGE = b"\n<!DOCTYPE html>\n<html>log in first</html>"


class Request(NamedTuple):
    """What a client asked for."""

    name: str
    headers: Message


class Server:
    """Serves `files` by name while its `with` block runs.

    `plans[name]` lists how the requests of a file are answered, one word each, the last one for ever; without a plan, `whole`:
    whole (ranges too), no-range (all of it, whatever was asked), wrong-range, chunked, unsized (no length: the end of the
    connection is the end), length:<text> (a Content-Length that is no number), cut:<bytes> (the connection ends early), silent:<seconds>, page (an HTML page), other (other bytes
    of the same length), moved, linked:<sha256> (a redirect with the promise of a hash, as Hugging Face sends it), encoded (a
    .gz declared as an encoding), <status>, <status>:<Retry-After>.
    """

    def __init__(self, files: dict[str, bytes]):
        self.files = dict(files)
        self.plans: dict[str, list[str]] = {}
        self.asked: list[Request] = []
        self.etags: dict[str, str] = {}  # others than `"1"`
        self.environment = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}  # for processes that ask it

    def __enter__(self) -> "Server":
        self._before = {name: os.environ.get(name) for name in self.environment}
        os.environ.update(self.environment)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.served = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        for name, value in self._before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})

    def address(self, name: str) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/{name}"

    def listed(self, files: dict[str, bytes], within: str = "") -> list[dict]:
        """Serve more files, below the folder `within`, and give them as an entry of a catalog lists them."""
        self.files |= {f"{within}{name}": content for name, content in files.items()}
        return [self.entry(f"{within}{name}", name=name) for name in files]

    def entry(self, place: str, **changes: object) -> dict:
        """A file as a catalog lists it."""
        content = self.files[place]
        known = {"size": len(content), "md5": md5(content), "sha256": sha256(content)}
        return {"name": place, "mirrors": [self.address(place)]} | known | changes

    def asked_for(self, name: str) -> list[Request]:
        return [request for request in self.asked if request.name == name]

    def next_word(self, name: str) -> str:
        plan = self.plans.get(name, ["whole"])
        return plan[min(len(self.asked_for(name)), len(plan) - 1)]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        served, name = self.server.served, self.path.strip("/")
        stored = name.removeprefix("elsewhere/")
        word, _, detail = served.next_word(stored).partition(":") if name == stored else ("whole", "", "")
        served.asked.append(Request(name, self.headers))
        self.close_connection = True
        if stored not in served.files:
            self.send(404, b"no such file")
            return
        content = served.files[stored]
        elsewhere = {"Location": f"/elsewhere/{stored}"}
        plain = {
            "page": (PAGE, {}), "other": (content[::-1], {}), "encoded": (content, {"Content-Encoding": "gzip"}),
            "moved": (b"", elsewhere), "linked": (b"", elsewhere | {"X-Linked-Etag": f'"{detail}"'}),
            "chunked": (content, {"Transfer-Encoding": "chunked"}), "unsized": (content, {}),
        }  # fmt: skip
        if word in plain:
            self.send(302 if word in ("moved", "linked") else 200, *plain[word], sized=word not in ("chunked", "unsized"))
        elif word == "length":
            self.send(200, content, {"Content-Length": detail}, sized=False)
        elif word == "silent":
            time.sleep(float(detail))
        elif word.isdigit():
            self.send(int(word), b"sorry", {"Retry-After": detail} if detail else {})
        else:
            self.send_range(content, {"ETag": served.etags.get(stored, '"1"')}, word, int(detail or 1 << 40))

    def send_range(self, content: bytes, version: dict[str, str], word: str, most: int) -> None:
        asked = self.headers.get("Range")
        if asked is None or word == "no-range" or self.headers.get("If-Range", version["ETag"]) != version["ETag"]:
            self.send(200, content, version, most=most)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) + (word == "wrong-range")
        if start >= len(content):
            self.send(416, b"")
        else:
            self.send(206, content[start:], version | {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}, most=most)

    def send(self, status: int, body: bytes, headers: dict[str, str] | None = None, sized: bool = True, most: int = 1 << 40) -> None:
        self.send_response(status)
        self.send_header("Connection", "close")  # or the client would use it again while it closes
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        if sized:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        chunked = "Transfer-Encoding" in (headers or {})
        self.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked else body[:most])

    def log_message(self, *_) -> None:
        pass


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


# The sets of torchvision, in the formats of their authors


def images_and_labels(rng: np.random.Generator, n: int, classes: int, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Random images, uint8 [n, *shape], and labels of which every class has some."""
    return rng.integers(0, 256, (n, *shape), np.uint8), rng.permutation(np.arange(n) % classes)


class Python2Pickler(pickle._Pickler):
    """Writes what Python 2 and the NumPy of its time wrote: byte strings, and a dtype whose `align` is a number."""

    dispatch = pickle._Pickler.dispatch.copy()

    def save_string(self, text: str | bytes) -> None:
        content = text.encode() if isinstance(text, str) else text
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)
        self.memoize(text)

    dispatch[str] = dispatch[bytes] = save_string

    def save_global(self, obj: object, name: str | None = None) -> None:
        module = obj.__module__.replace("numpy._core", "numpy.core")
        self.write(pickle.GLOBAL + f"{module}\n{name or obj.__qualname__}\n".encode())
        self.memoize(obj)

    dispatch[type] = dispatch[type(len)] = dispatch[type(images_and_labels)] = save_global

    def reducer_override(self, obj: object) -> object:
        if not isinstance(obj, np.dtype):
            return NotImplemented
        made, (letters, *_), state = obj.__reduce__()
        return made, (letters, 0, 1), state


def python2_pickle(content: object) -> bytes:
    file = io.BytesIO()
    Python2Pickler(file, protocol=2).dump(content)
    return file.getvalue()


def tar(members: dict[str, bytes], mode: str = "gz") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=f"w:{mode}") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def repacked(archive: bytes, changes: dict[str, bytes | None], mode: str = "gz") -> bytes:
    """A tar with some members changed, added or left out."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as old:
        members = {member.name: old.extractfile(member).read() for member in old if member.isfile()}
    return tar({name: content for name, content in (members | changes).items() if content is not None}, mode)


def zipped(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def _rows(x: np.ndarray) -> np.ndarray:
    """[n, 32, 32, 3] to [n, 3072], channel after channel."""
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2).reshape(len(x), -1))


def cifar10(rng: np.random.Generator, train: int = 50, test: int = 20) -> dict[str, bytes]:
    """Five batches and one for the test, pickled by Python 2, in a tar.gz."""
    x, y = images_and_labels(rng, train + test, 10, (32, 32, 3))
    parts = dict(zip([f"data_batch_{i}" for i in range(1, 6)], np.array_split(np.arange(train), 5), strict=True))
    parts["test_batch"] = np.arange(train, train + test)
    batches = {name: {"batch_label": name, "labels": y[rows].tolist(), "data": _rows(x[rows])} for name, rows in parts.items()}
    batches["batches.meta"] = {"num_cases_per_batch": 10000, "label_names": [f"class {i}" for i in range(10)], "num_vis": 3072}
    members = {f"cifar-10-batches-py/{name}": python2_pickle(batch) for name, batch in batches.items()}
    return {"cifar-10-python.tar.gz": tar(members)}


def cifar100(rng: np.random.Generator, train: int = 200, test: int = 100) -> dict[str, bytes]:
    """One batch each, with fine and coarse labels, pickled by Python 2, in a tar.gz."""
    x, y = images_and_labels(rng, train, 100, (32, 32, 3))
    test_x, test_y = images_and_labels(rng, test, 100, (32, 32, 3))
    batches = {
        name: {"fine_labels": labels.tolist(), "coarse_labels": (labels % 20).tolist(), "data": _rows(images)}
        for name, images, labels in (("train", x, y), ("test", test_x, test_y))
    }
    batches["meta"] = {"fine_label_names": [f"class {i}" for i in range(100)], "coarse_label_names": [f"group {i}" for i in range(20)]}
    return {"cifar-100-python.tar.gz": tar({f"cifar-100-python/{name}": python2_pickle(batch) for name, batch in batches.items()})}


def svhn(rng: np.random.Generator, train: int = 50, test: int = 20) -> dict[str, bytes]:
    """MATLAB files: X uint8 [32, 32, 3, n], y uint8 [n, 1] from 1 to 10, where 10 is the digit 0."""
    files = {}
    for split, n in (("train", train), ("test", test)):
        x, y = images_and_labels(rng, n, 10, (32, 32, 3))
        file = io.BytesIO()
        content = {"X": x.transpose(1, 2, 3, 0), "y": np.where(y == 0, 10, y).astype(np.uint8)[:, None]}
        scipy.io.savemat(file, content, do_compression=True)
        files[f"{split}_32x32.mat"] = file.getvalue()
    return files


def mnist(rng: np.random.Generator, train: int = 50, test: int = 20) -> dict[str, bytes]:
    """Four gzipped IDX files, of MNIST, FashionMNIST and KMNIST alike: magic number, big-endian sizes, bytes."""
    files = {}
    for split, n in (("train", train), ("t10k", test)):
        x, y = images_and_labels(rng, n, 10, (28, 28))
        files[f"{split}-images-idx3-ubyte.gz"] = gzip.compress(struct.pack(">4i", 0x803, n, 28, 28) + x.tobytes(), mtime=0)
        files[f"{split}-labels-idx1-ubyte.gz"] = gzip.compress(struct.pack(">2i", 0x801, n) + y.astype(np.uint8).tobytes(), mtime=0)
    return files


fmnist = kmnist = mnist
SETS = {"cifar10": cifar10, "cifar100": cifar100, "svhn": svhn, "fmnist": fmnist, "kmnist": kmnist, "mnist": mnist}
"""By name in data/catalog.yaml."""


def serve_sets(repository: Repository, server: "Server", counts: dict[str, tuple[int, int]]) -> None:
    """Put miniatures of sets, of so many training and test images, in the place of the published ones; in parts of them, too."""
    rng, catalog = np.random.default_rng(0), loaded(repository.text("data/catalog.yaml"))
    for name, (train, test) in counts.items():
        small = {"files": server.listed(SETS[name](rng, train, test), within=f"{name}/"), "train": train, "test": test}
        same = [other for other, entry in catalog.items() if entry.get("files") == catalog[name]["files"]]
        repository.edit("data/catalog.yaml", **{f"{other}__{key}": value for other in same for key, value in small.items()})


# Folders of images


def picture(rng: np.random.Generator, width: int, height: int, mode: str = "RGB", kind: str = "PNG") -> bytes:
    """A smooth random image as a file."""
    coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    coarse.convert(mode).save(file, kind)
    return file.getvalue()


def folder(rng: np.random.Generator, counts: dict[str, int], classes: int = 2) -> dict[str, bytes]:
    """Images of various sizes and kinds, `counts[split]` for each class: split/class/image. An empty split is no folder."""
    kinds = (("RGB", "PNG", "png"), ("L", "PNG", "png"), ("RGB", "JPEG", "JPEG"), ("CMYK", "JPEG", "jpg"))
    members = {}
    for split, n in counts.items():
        for label in range(classes):
            for i in range(n):
                mode, kind, suffix = kinds[i % len(kinds)]
                width, height = (int(side) for side in rng.integers(20, 60, 2))
                path = "/".join(filter(None, [split, f"class_{label}", f"{i}.{suffix}"]))
                members[path] = picture(rng, width, height, mode, kind)
    return members


def folder_archive(rng: np.random.Generator, train: int = 6, test: int = 3, classes: int = 2, kind: str = "zip") -> bytes:
    """A zip or a tar (gz, bz2, xz) with train/<class>/ and test/<class>/ inside one folder, `train` images for each class."""
    members = {f"images/{path}": content for path, content in folder(rng, {"train": train, "test": test}, classes).items()}
    return zipped(members) if kind == "zip" else tar(members, kind)
