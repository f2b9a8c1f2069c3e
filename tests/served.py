"""A real HTTP server on this machine, and what it serves: miniature archives in the formats of the published image sets."""

import gzip
import hashlib
import io
import pickle
import re
import tarfile
import threading
import time
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image
from scipy.io import savemat


class Server:
    """Serves `files` by name, with ranges, as long as its block lasts.

    Attributes:
        plans: of a name, what its next answers are, the last for ever: `whole`, `cut` (half of what is left), `page`, `silent`,
            `unsized`, `other` (changed content), `norange` (whole, whatever was asked), `moved`, `linked`, or a status.
        asked: name and headers of every request.
    """

    def __init__(self, files: dict[str, bytes]):
        self.files, self.plans, self.asked = files, defaultdict(lambda: ["whole"]), []

    def __enter__(self) -> "Server":
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self.http.daemon_threads = True
        self.http.owner = self
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,))
        self.thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()

    def address(self, name: str) -> str:
        return f"http://127.0.0.1:{self.http.server_port}/{name}"

    def entry(self, name: str, **changes: object) -> dict:
        """A catalog's entry of the file."""
        content = self.files[name]
        return {"name": name, "mirrors": [self.address(name)], "size": len(content), "sha256": sha256(content)} | changes


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        owner, name = self.server.owner, self.path.lstrip("/")
        before = sum(asked == name for asked, _ in owner.asked)
        owner.asked.append((name, dict(self.headers)))
        plan, content = owner.plans[name], owner.files.get(name, b"")
        word = plan[min(before, len(plan) - 1)] if name in owner.files else "404"
        if word.isdigit():
            return self.answer(int(word), b"sorry", {"Retry-After": "3"} if word == "503" else {})
        if word == "moved":
            return self.answer(302, b"", {"Location": f"/{name}"})
        if word == "linked":
            return self.answer(302, b"", {"Location": f"/{name}", "X-Linked-Etag": f'"{sha256(content)}"'})
        if word == "silent":
            return time.sleep(1)
        if word == "page":
            content = b"\n<!DOCTYPE html>\n<html>log in first</html>"
        if word == "other":
            content = content[::-1]
        if word == "unsized":
            self.close_connection = True
            return self.answer(200, content, length=None)
        return self.part(content, word)

    def part(self, content: bytes, word: str) -> None:
        asked, tag = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")), f'"{md5(content)}"'
        start = int(asked[1]) if asked and word != "norange" and self.headers.get("If-Range", tag) == tag else 0
        if asked and start >= len(content):
            return self.answer(416, b"")
        body, headers = content[start:], {"ETag": tag}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        if word == "cut":
            self.close_connection = True
            return self.answer(206 if start else 200, body[: len(body) // 2], headers, len(body))
        return self.answer(206 if start else 200, body, headers)

    def answer(self, status: int, body: bytes, headers: dict | None = None, length: int | None = -1) -> None:
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(len(body) if length < 0 else length))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


# Image sets: images uint8 [n, H, W, C] and labels from a generator; of each, its published files


def pictures(rng: np.random.Generator, n: int, side: int, channels: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise whose mean brightness tells the class."""
    y = np.arange(n) % classes
    x = rng.integers(0, 60, (n, side, side, channels)) + (y * 190 // max(1, classes - 1))[:, None, None, None]
    return x.astype(np.uint8), y


def cifar(rng: np.random.Generator, train: int, test: int, classes: int, hundred: bool = False) -> dict[str, bytes]:
    """Pickled batches of rows of 3,072 bytes, in a gzipped tar."""
    key = "fine_labels" if hundred else "labels"

    def batch(n: int) -> bytes:
        x, y = pictures(rng, n, 32, 3, classes)
        return pickle.dumps({"data": x.transpose(0, 3, 1, 2).reshape(n, -1), key: y.tolist()}, protocol=2)

    names = [f"class {i}" for i in range(classes)]
    if hundred:
        members = {"train": batch(train), "test": batch(test), "meta": pickle.dumps({"fine_label_names": names}, protocol=2)}
    else:
        members = {f"data_batch_{i}": batch(train // 5) for i in range(1, 6)} | {"test_batch": batch(test)}
        members["batches.meta"] = pickle.dumps({"label_names": names}, protocol=2)
    folder = "cifar-100-python" if hundred else "cifar-10-batches-py"
    name = "cifar-100-python.tar.gz" if hundred else "cifar-10-python.tar.gz"
    return {name: tar({f"{folder}/{member}": content for member, content in members.items()})}


def svhn(rng: np.random.Generator, train: int, test: int, classes: int) -> dict[str, bytes]:
    """MATLAB files of images [32, 32, 3, n] and labels [n, 1], in which 10 stands for 0."""
    files = {}
    for split, n in (("train", train), ("test", test)):
        x, y = pictures(rng, n, 32, 3, classes)
        buffer = io.BytesIO()
        savemat(buffer, {"X": x.transpose(1, 2, 3, 0), "y": np.where(y == 0, 10, y).astype(np.uint8)[:, None]}, do_compression=True)
        files[f"{split}_32x32.mat"] = buffer.getvalue()
    return files


def idx(rng: np.random.Generator, train: int, test: int, classes: int) -> dict[str, bytes]:
    """MNIST's format, and that of FashionMNIST and KMNIST: gzipped, big-endian."""
    files = {}
    for split, n in (("train", train), ("t10k", test)):
        x, y = pictures(rng, n, 28, 1, classes)
        sizes = b"".join(np.array(part, ">i4").tobytes() for part in ([0x803, n, 28, 28], [0x801, n]))
        files[f"{split}-images-idx3-ubyte.gz"] = gzip.compress(sizes[:16] + x.tobytes(), mtime=0)
        files[f"{split}-labels-idx1-ubyte.gz"] = gzip.compress(sizes[16:] + y.astype(np.uint8).tobytes(), mtime=0)
    return files


def folder(rng: np.random.Generator, train: int, test: int, classes: int) -> dict[str, bytes]:
    """Members of a folder of images of several sizes and formats, in class folders under train and val."""
    members = {}
    for split, n in (("train", train), ("val", test)):
        x, y = pictures(rng, n, 40, 3, classes)
        for i, (image, label) in enumerate(zip(x, y, strict=True)):
            buffer = io.BytesIO()
            Image.fromarray(image[: 30 + i % 3 * 5]).save(buffer, format="JPEG" if i % 2 else "PNG", quality=95)
            members[f"{split}/n{label:04}/{i}.{'JPEG' if i % 2 else 'png'}"] = buffer.getvalue()
    return members


def tar(members: dict[str, bytes], kind: str = "gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{kind}") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
