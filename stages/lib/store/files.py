"""Files that are whole or absent: written under a temporary name and renamed, with their hashes, and safetensors that are checked."""

import hashlib
import io
import json
import os
import pickle
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from stages.lib.errors import RunError

CHUNK = 1 << 20


def state_folder() -> Path:
    """The folder that holds finished cells and run journals: the original repository, also when DVC runs in a copy of it."""
    return Path(os.environ.get("DVC_ROOT") or ".").resolve()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` that becomes `path` when the block ends well, and goes away when it does not.

    Raises:
        RunError: when the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror or error}; nothing is left of it") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def write_bytes(path: Path, content: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, content: Any) -> None:
    write_bytes(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise RunError(f"{path}: the file is missing; the stage that writes it has not run") from None
    except ValueError as error:
        raise RunError(f"{path}: not JSON ({error})") from None


def write_array(path: Path, shape: tuple[int, ...], dtype: Any, chunks: Iterable[np.ndarray]) -> str:
    """Write a .npy file from chunks of rows, one after the other, so that the file may be larger than memory; returns its sha256.

    The file is not written through a memory map: its pages count as memory of the process, and a full disk would kill the process.
    """

    def parts() -> Iterator[memoryview]:
        rows, header = 0, io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": tuple(shape)})
        yield header.getbuffer()
        for chunk in chunks:
            rows += len(chunk)
            if chunk.shape[1:] != tuple(shape[1:]):
                raise ValueError(f"{path}: a chunk has the shape {chunk.shape}, of an array of {shape}")
            yield np.ascontiguousarray(chunk, dtype).data
        if rows != shape[0]:
            raise ValueError(f"{path}: {rows} rows came, of an array of {shape}")

    return write_parts(path, parts())


def write_parts(path: Path, parts: Iterable[memoryview]) -> str:
    """Write a file from parts, one after the other, so that it may be larger than memory; returns its sha256."""
    digest = hashlib.sha256()
    with replacing(path) as temporary, open(temporary, "wb") as file:
        for part in parts:
            digest.update(part)
            file.write(part)
    return digest.hexdigest()


def save_array(path: Path, array: np.ndarray) -> str:
    return write_array(path, array.shape, array.dtype, [array])


def write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)


def write_parquet(path: Path, table: Any) -> None:
    with replacing(path) as temporary:
        table.to_parquet(temporary, index=False)


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def digest_of(content: Any) -> str:
    """sha256 of anything that JSON can express; the order of keys makes no difference."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()


def read_tensors(path: Path) -> dict[str, Any]:
    """The tensors of a safetensors file. The format holds no code, and a pickle under its name is refused, not read.

    Raises:
        RunError: for a file that is missing, truncated, corrupt or in another format.
    """
    from safetensors import SafetensorError  # here, as torch takes seconds to import
    from safetensors.torch import load_file

    if not path.is_file():
        raise RunError(f"{path}: the file is missing")
    try:
        return load_file(path)
    except (SafetensorError, ValueError, OSError) as error:
        problem = error
    with open(path, "rb") as file:  # only after the failure, as a whole safetensors file may start with the same bytes
        start = file.read(512)
    if start[:1] == b"\x80" or start[:2] == b"PK":
        raise RunError(f"{path}: holds a pickle, which could run code; allowed: safetensors. Nothing of it was read")
    if start.lstrip()[:1] == b"<":
        raise RunError(f"{path}: holds an HTML page, not weights; allowed: safetensors")
    raise RunError(f"{path}: no whole safetensors file ({problem}); delete it and run again")


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file that this project wrote, as NumPy arrays and without importing torch."""
    from safetensors.numpy import load_file  # here, beside its sibling above

    return load_file(path)


def write_tensors(path: Path, tensors: dict[str, Any]) -> None:
    from safetensors.torch import save

    write_bytes(path, save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}))


def write_checkpoint(path: Path, state: dict) -> None:
    import torch  # here, as torch takes seconds to import

    content = io.BytesIO()
    torch.save(state, content)
    write_bytes(path, hashlib.sha256(content.getbuffer()).digest() + content.getbuffer())


def read_checkpoint(path: Path, log: Callable[[str], None]) -> dict | None:
    """The state of a half-finished training; None where there is none. A damaged one is ignored, with a warning."""
    import torch  # here, as torch takes seconds to import

    try:
        content = path.read_bytes()
        if hashlib.sha256(content[32:]).digest() != content[:32]:
            raise ValueError("its hash does not fit")
        return torch.load(io.BytesIO(content[32:]), map_location="cpu", weights_only=True)
    except FileNotFoundError:
        return None
    except (RuntimeError, ValueError, pickle.UnpicklingError, OSError) as error:
        log(f"warning: {path}: a damaged checkpoint ({type(error).__name__}); training begins anew")
        return None


@contextmanager
def locked(path: Path, content: str, log: Callable[[str], None] = print) -> Iterator[None]:
    """Hold a lock file while the block runs; where another process holds it, wait, and log that `content` is being written.

    Raises:
        RunError: when the folder is read-only.
    """
    lock = FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        log(f"{content} is being written by another process; waiting for it to end")
        lock.acquire()
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror or error}") from None
    try:
        yield
    finally:
        lock.release()
