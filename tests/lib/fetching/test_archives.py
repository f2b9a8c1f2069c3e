"""Archives: unpacked whole or not at all, and never outside their folder."""

import gzip
import io
import resource
import signal
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from served import tar, zipped

from stages.lib.errors import RunError
from stages.lib.fetching import archives

MEMBERS = {"a/b/one.txt": b"1" * 5000, "a/two.txt": b"2" * 70_000, "three.txt": b""}
KINDS = {
    "tar": lambda members: tar(members, ""),
    "tar.gz": tar,
    "tar.bz2": lambda members: tar(members, "bz2"),
    "tar.xz": lambda members: tar(members, "xz"),
    "zip": zipped,
}


@pytest.fixture
def folder(tmp_path) -> Path:
    """Where archives are unpacked; nothing but it may change."""
    (tmp_path / "outside").mkdir()
    return tmp_path / "outside" / "folder"


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def written(folder: Path, content: bytes) -> Path:
    path = folder / "some.archive"  # its kind is in its content
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_is_unpacked_whole_and_goes_away_with_the_block(tmp_path, folder, kind):
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_bytes(KINDS[kind](MEMBERS))
    second.write_bytes(zipped({"a/four.txt": b"4"}))
    with archives.extracted([first, second], folder) as found:
        assert tree(found) == MEMBERS | {"a/four.txt": b"4"}
    assert not list(folder.iterdir())


def damaged(content: bytes) -> dict[str, bytes]:
    middle = len(content) // 2
    flipped = content[:middle] + bytes(255 - byte for byte in content[middle : middle + 20]) + content[middle + 20 :]
    return {"truncated": content[:middle], "flipped": flipped, "page": b"<!DOCTYPE html><html>", "empty": b"", "start": content[:10]}


DAMAGES = [(kind, damage) for kind in KINDS for damage in ("truncated", "flipped", "page", "empty", "start")]
DAMAGES.remove(("tar", "flipped"))  # a plain tar has no checksum of its members' content


@pytest.mark.parametrize(("kind", "damage"), DAMAGES)
def test_a_damaged_archive_is_one_line_and_leaves_nothing(tmp_path, folder, kind, damage):
    archive = written(tmp_path, damaged(KINDS[kind](MEMBERS))[damage])
    with pytest.raises(RunError, match=r"some\.archive: a damaged archive .*; delete it and run again") as error:
        archives.extract(archive, folder)
    assert "\n" not in str(error.value)
    assert not tree(folder.parent)


@pytest.mark.parametrize(("place", "value", "said"), [(8, 99, "compression method"), (6, 1, "password required")])
def test_a_zip_of_an_unknown_compression_or_with_a_password_is_one_line_and_leaves_nothing(tmp_path, folder, place, value, said):
    """The field of a member's header, which stands in the directory at the end, too, two bytes further."""
    content = bytearray(zipped({"a.txt": b"1" * 100}))
    for start, shift in ((content.index(b"PK\3\4"), 0), (content.index(b"PK\1\2"), 2)):
        content[start + place + shift] = value
    with pytest.raises(RunError, match=r"some\.archive: an archive that cannot be read \(.*\); allowed: a tar or a zip without") as error:
        archives.extract(written(tmp_path, bytes(content)), folder)
    assert said in str(error.value)
    assert not tree(folder.parent)


def tar_of(*members: tarfile.TarInfo) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for member in members:
            archive.addfile(member)
    return file.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def zip_with_link(name: str, target: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, target)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        *((kind({"good": b"1", name: b"x"}), f"member {name!r} leaves") for kind in (tar, zipped) for name in ("../x", "a/../../x", "/tmp/x", "..\\x", "C:\\x")),
        (tar_of(member("x", tarfile.SYMTYPE, "../../x")), "member 'x' is a link that leaves"),
        (tar_of(member("x", tarfile.SYMTYPE, "/etc/passwd")), "member 'x' is a link that leaves"),
        (tar_of(member("x", tarfile.LNKTYPE, "../x")), "member 'x' is a link that leaves"),
        (tar_of(member("x", tarfile.FIFOTYPE)), "member 'x' is neither a file nor a folder"),
        (tar_of(member("x", tarfile.CHRTYPE)), "member 'x' is neither a file nor a folder"),
        (zip_with_link("x", b"/etc/passwd"), "member 'x' is a link"),
    ],
    ids=lambda value: "archive" if isinstance(value, bytes) else value,  # its bytes hold the time, which differs between two workers
)  # fmt: skip
def test_a_member_that_leaves_the_folder_is_refused_and_nothing_is_extracted(tmp_path, folder, content, said):
    with pytest.raises(RunError) as error:
        archives.extract(written(tmp_path, content), folder)
    assert said in str(error.value)
    assert str(error.value).endswith("; nothing was extracted")
    assert not tree(folder.parent)


def test_a_link_within_the_folder_is_kept(tmp_path, folder):
    archives.extract(written(tmp_path, tar_of(member("a"), member("b", tarfile.SYMTYPE, "a"))), folder)
    assert (folder / "b").resolve() == (folder / "a").resolve()


def with_little_room(run: Callable[[], None]) -> str:
    """The line with which it ends where no file may have more than 20,000 bytes, as on a full disk."""
    before, action = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(RunError) as error:
            run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, action)
    return str(error.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, folder, kind):
    archive = written(tmp_path, KINDS[kind](MEMBERS))
    line = with_little_room(lambda: archives.extract(archive, folder))
    assert "cannot be extracted into" in line
    assert "File too large; nothing is left of it" in line
    assert not tree(folder.parent)


def test_the_file_of_a_gz_is_decompressed(tmp_path, folder):
    archives.decompress(written(tmp_path, gzip.compress(b"abc")), folder / "raw" / "abc")
    assert tree(folder) == {"raw/abc": b"abc"}


@pytest.mark.parametrize("damage", ["truncated", "flipped", "page", "start"])
def test_a_damaged_gz_is_one_line(tmp_path, folder, damage):
    archive = written(tmp_path, damaged(gzip.compress(bytes(range(256)) * 50))[damage])
    with pytest.raises(RunError, match="a damaged archive"):
        archives.decompress(archive, folder / "abc")
    assert not tree(folder.parent)
