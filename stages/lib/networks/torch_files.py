"""The two formats in which torch saves checkpoints, read without torch's own reader and without running anything (`inert`).

A zip holds the pickle `data.pkl` and the numbers of each storage as `data/<key>`, uncompressed; an older file is five pickles, the
fourth of them the checkpoint, and then the storages one after the other. In the pickle a tensor is a piece of a storage, and only
tensors that are asked for are read.
"""

import io
import math
import mmap
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stages.lib.networks import inert
from stages.lib.networks.inert import Stand

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # that the older format begins with
TYPES = {
    "Float": torch.float32, "Double": torch.float64, "Half": torch.float16, "BFloat16": torch.bfloat16, "Long": torch.int64,
    "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8, "Bool": torch.bool,
    "ComplexFloat": torch.complex64, "ComplexDouble": torch.complex128,
}  # fmt: skip
DTYPES = {f"torch.{name}Storage": dtype for name, dtype in TYPES.items()} | {"torch.storage.UntypedStorage": torch.uint8}


@dataclass(frozen=True)
class Storage:
    """Numbers of one type in a row, which tensors are pieces of."""

    key: str
    dtype: torch.dtype
    n: int  # of numbers

    @property
    def bytes(self) -> int:
        return self.n * self.dtype.itemsize


@dataclass(frozen=True)
class Piece:
    """A tensor as the pickle describes it; nothing of it has been checked."""

    storage: Any
    offset: Any
    size: Any
    stride: Any


@dataclass(frozen=True)
class Contents:
    """What a file holds: plain values, pieces of storages, and stands; and where the storages lie."""

    checkpoint: Any
    bytes_of: Callable[[str], bytes]  # of a storage, by its key
    n_bytes: int  # of the whole file
    kept: dict[str, Tensor] = field(default_factory=dict)  # storages that have been read

    def tensors(self, state: Mapping[str, Piece]) -> dict[str, Tensor]:
        """The tensors of a state dict.

        Raises:
            ValueError: names a tensor that does not lie within its storage, or a storage that is not as long as it is said to be.
        """
        return {name: self._tensor(name, piece) for name, piece in state.items()}

    def _tensor(self, name: str, piece: Piece) -> Tensor:
        storage, offset, size, stride = piece.storage, piece.offset, piece.size, piece.stride
        if not isinstance(storage, Storage) or not _are_counts([offset]) or not _are_counts(size) or not _are_counts(stride):
            raise ValueError(f"{name}: a tensor without a storage, or with a shape that is none")
        n, reach = math.prod(size), sum((length - 1) * step for length, step in zip(size, stride, strict=True))
        if n and (n > storage.n or offset + reach >= storage.n):
            raise ValueError(f"{name}: a tensor of the shape {list(size)} goes beyond its storage of {storage.n} numbers")
        return torch.as_strided(self._numbers(storage), size, stride, offset if n else 0)

    def _numbers(self, storage: Storage) -> Tensor:
        if storage.key not in self.kept:
            content = bytearray(self.bytes_of(storage.key))
            if sum(map(len, self.kept.values())) + len(content) > self.n_bytes:
                raise ValueError("storages that are longer than the file")
            self.kept[storage.key] = torch.frombuffer(content, dtype=torch.uint8) if content else torch.empty(0, dtype=torch.uint8)
        if len(self.kept[storage.key]) != storage.bytes:
            raise ValueError(f"the storage {storage.key} does not have {storage.n} numbers of {storage.dtype}")
        return self.kept[storage.key].view(storage.dtype)


def _are_counts(numbers: Any) -> bool:
    """Whether these are a few integers from 0."""
    return isinstance(numbers, list | tuple) and len(numbers) <= 16 and all(type(n) is int and 0 <= n < 1 << 62 for n in numbers)


def read(path: Path) -> Contents:
    """The contents of a file of either format.

    Raises:
        inert.ActingCallError: for a call that no checkpoint needs.
        ValueError and what else a broken file gives: `BROKEN`.
    """
    with open(path, "rb") as file:
        zipped = file.read(2) == b"PK"
    return _read_zip(path) if zipped else _read_older(path)


BROKEN = (ValueError, LookupError, TypeError, ArithmeticError, EOFError, MemoryError, OSError, RuntimeError, zipfile.BadZipFile)
"""What is raised for files that are no whole checkpoints."""


def _read_zip(path: Path) -> Contents:
    with zipfile.ZipFile(path) as archive:
        found = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(found) != 1:
            raise ValueError(f"a zip with {len(found)} files <name>/data.pkl; a checkpoint of torch has one")
        folder = found[0].removesuffix("data.pkl")
        order = f"{folder}byteorder"
        if order in archive.namelist() and _member(archive, order) != b"little":
            raise ValueError("numbers whose first byte is the highest")
        checkpoint = inert.load(io.BytesIO(_member(archive, found[0])), KNOWN, _storage)

    def bytes_of(key: str) -> bytes:
        with zipfile.ZipFile(path) as archive:
            return _member(archive, f"{folder}data/{key}")

    return Contents(checkpoint, bytes_of, path.stat().st_size)


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    """A file of an archive, which is not compressed, so that a small file cannot become a large one."""
    if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{name} is compressed, which torch does not do")
    return archive.read(name)


def _read_older(path: Path) -> Contents:
    storages: dict[str, Storage] = {}

    def noted(identifier: Any) -> Storage | Stand:
        found = _storage(identifier)
        return storages.setdefault(found.key, found) if isinstance(found, Storage) else found

    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        magic, protocol = (inert.load(content, KNOWN, noted) for _ in range(2))
        if (magic, protocol) != (MAGIC, PROTOCOL):
            raise ValueError("a pickle that is no checkpoint of torch")
        system = inert.load(content, KNOWN, noted)
        if not isinstance(system, dict) or system.get("little_endian") is not True:
            raise ValueError("numbers whose first byte is the highest")
        checkpoint, keys = (inert.load(content, KNOWN, noted) for _ in range(2))
        place, places = content.tell(), {}
        for key in keys:
            storage = storages.get(key if isinstance(key, str) else "")
            if storage is None:  # its length is not known, so nothing after it can be found
                raise ValueError(f"the storage {key} is of numbers that weights do not have")
            if int.from_bytes(content[place : place + 8], "little") != storage.n or place + 8 + storage.bytes > len(content):
                raise ValueError(f"the storage {key} does not have {storage.n} numbers")
            places[key] = (place + 8, storage.bytes)
            place += 8 + storage.bytes

    def bytes_of(key: str) -> bytes:
        start, n = places[key]
        with open(path, "rb") as file:
            file.seek(start)
            return file.read(n)

    return Contents(checkpoint, bytes_of, path.stat().st_size)


def _storage(identifier: Any) -> Storage | Stand:
    """The storage that a persistent id names: ("storage", type, key, device, number of numbers, and None or a view of another storage).

    An older file also names the source text of a pickled module so; that is not read.
    """
    kind, *values = identifier if isinstance(identifier, tuple) and identifier else (None,)
    if kind == "module" and isinstance(values[0], Stand):
        return values[0]
    if kind != "storage" or len(values) not in (4, 5) or (len(values) == 5 and values[4] is not None):
        raise ValueError("a persistent id that is no storage of the file")
    kind_of_numbers, key, _, n = values[:4]
    if not isinstance(key, str) or not key.isalnum() or not _are_counts([n]):
        raise ValueError("a storage whose key or length is none")
    if not isinstance(kind_of_numbers, Stand) or kind_of_numbers.name not in DTYPES:
        return Stand(kind_of_numbers.name if isinstance(kind_of_numbers, Stand) else "a storage")  # of other numbers: no weights
    return Storage(key, DTYPES[kind_of_numbers.name], n)


KNOWN: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": lambda pairs=(): inert.pairs([value for pair in pairs for value in pair]),
    "torch._utils._rebuild_tensor": Piece,
    "torch._utils._rebuild_tensor_v2": lambda storage, offset, size, stride, *rest: Piece(storage, offset, size, stride),
    "torch._utils._rebuild_parameter": lambda data, *rest: data,
    "torch._utils._rebuild_parameter_with_state": lambda data, *rest: data,
}
"""The functions that a state dict is made of, in place of torch's."""
