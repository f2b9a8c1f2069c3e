"""Whether a file is the one of the catalog: all that the catalog says of it is compared, and a page is called a page."""

import hashlib

import pytest

from stages.lib.fetching.checksums import digests_of, is_known, is_page, problem_of
from stages.lib.settings.catalog import File

CONTENT = b"abc"
SHA256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
MD5 = "900150983cd24fb0d6963f7d28e17f72"  # RFC 1321, appendix A.5


@pytest.mark.parametrize(
    ("content", "known", "problem"),
    [
        (CONTENT, {}, None),
        (CONTENT, {"size": 3, "sha256": SHA256, "md5": MD5}, None),
        (CONTENT, {"sha256": SHA256[:8]}, None),
        (CONTENT, {"size": 4, "sha256": SHA256}, "it has 3 bytes; allowed: 4"),
        (CONTENT, {"size": 3, "sha256": "0" * 8}, f"sha256 is {SHA256}; allowed: 00000000"),
        (CONTENT, {"sha256": SHA256, "md5": "0" * 32}, f"md5 is {MD5}; allowed: {'0' * 32}"),
        (b"<html>", {"size": 4}, "an HTML page instead of the file"),
        (b"", {"size": 4}, "it has 0 bytes; allowed: 4"),
    ],
)
def test_what_the_catalog_says_is_compared(tmp_path, content, known, problem):
    path = tmp_path / "a"
    path.write_bytes(content)
    assert problem_of(path, digests_of(path), File(name="a", mirrors=["x"], **known)) == problem


def test_digests_are_those_of_the_whole_file(tmp_path):
    content = bytes(range(256)) * 10_000  # more than a chunk
    (tmp_path / "a").write_bytes(content)
    expected = (len(content), hashlib.sha256(content).hexdigest(), hashlib.md5(content).hexdigest())
    assert digests_of(tmp_path / "a") == expected


@pytest.mark.parametrize(("known", "expected"), [({}, False), ({"size": 3}, False), ({"md5": MD5}, True), ({"sha256": SHA256[:8]}, True)])
def test_a_size_is_no_checksum(known, expected):
    assert is_known(File(name="a", mirrors=["x"], **known)) == expected


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (b"<!DOCTYPE html>", True),
        (b"\n <HTML lang=en>", True),
        (b"\xef\xbb\xbf<html>", True),
        (b"<?xml", False),
        (b"PK\x03\x04<html>", False),
        (b"", False),
    ],
)
def test_a_page_is_known_by_its_start(start, expected):
    assert is_page(start) == expected
