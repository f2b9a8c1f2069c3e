"""Archives are unpacked whole or not at all, and never outside their folder."""

import gzip
import lzma
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from stages.lib.errors import RunError
from stages.lib.store import files

DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, gzip.BadGzipFile)
LOCKED = RuntimeError  # of zipfile, for a password; its subclass for a compression that it does not know


@contextmanager
def extracted(archives: Sequence[Path], within: Path) -> Iterator[Path]:
    """A temporary folder with the content of all archives; it is removed when the block ends.

    Args:
        archives: tar (plain, gz, bz2, xz) or zip, told apart by their content.
        within: the folder in which the temporary one is made; its disk needs room for the content of the archives.
    """
    within.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=within, prefix="extracted-") as folder:
        for archive in archives:
            extract(archive, Path(folder))
        yield Path(folder)


def extract(archive: Path, folder: Path) -> None:
    """Unpack a tar or a zip into `folder`, which is emptied when that fails.

    Raises:
        RunError: a member would leave the folder, or the archive is damaged, or the disk is full.
    """
    with _explained(archive, folder):
        with open(archive, "rb") as file:
            is_zip = file.read(2) == b"PK"
        if is_zip:
            with zipfile.ZipFile(archive) as content:
                for member in content.infolist():
                    if stat.S_ISLNK(member.external_attr >> 16):
                        raise RunError(f"{archive}: member {member.filename!r} is a link; nothing was extracted")
                    _check(archive, member.filename)
                content.extractall(folder)
        else:
            with tarfile.open(archive) as content:
                content.extractall(folder, filter=lambda member, path: _tar_member(archive, member, path))
                while content.fileobj.read(files.CHUNK):
                    pass  # to the end of the stream, where its checksum is


def decompress(archive: Path, target: Path) -> None:
    """Write the one file that a .gz archive holds to `target`."""
    with _explained(archive, target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        with gzip.open(archive) as source, open(target, "wb") as out:
            shutil.copyfileobj(source, out, files.CHUNK)


@contextmanager
def _explained(archive: Path, folder: Path) -> Iterator[None]:
    """Turn each fault of the block into a RunError of one line, and leave nothing in `folder`."""
    try:
        yield
    except (*DAMAGED, LOCKED, OSError, RunError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, RunError):
            raise
        if isinstance(error, LOCKED):
            raise RunError(f"{archive}: an archive that cannot be read ({error}); allowed: a tar or a zip without a password") from None
        if isinstance(error, OSError) and error.errno is not None:
            raise RunError(f"{archive}: cannot be extracted into {folder}: {error.strerror}; nothing is left of it") from None
        why = "no whole tar or zip" if "\n" in str(error) else error  # tarfile says on a line each how it tried to open it
        raise RunError(f"{archive}: a damaged archive ({why}); delete it and run again") from None


def _tar_member(archive: Path, member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo:
    _check(archive, member.name)
    try:
        return tarfile.data_filter(member, folder)
    except tarfile.FilterError:
        kind = "a link that leaves the folder" if member.issym() or member.islnk() else "neither a file nor a folder"
        raise RunError(f"{archive}: member {member.name!r} is {kind}; nothing was extracted") from None


def _check(archive: Path, name: str) -> None:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or name[1:2] == ":":
        raise RunError(f"{archive}: member {name!r} leaves the folder; nothing was extracted")
