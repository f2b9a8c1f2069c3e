"""Numbers as people write them."""

import pytest

from stages.lib.report import wording


def test_nearest_blocks_counts_all_as_the_most():
    assert wording.nearest_blocks(["0", "3", "all"], "1") == "0"
    assert wording.nearest_blocks(["0", "3", "all"], "9") == "3"
    assert wording.nearest_blocks(["0", "3", "all"], "all") == "all"
    assert wording.nearest_blocks([], "1") is None


@pytest.mark.parametrize(
    ("sizes", "wanted", "nearest"), [([50, 200, "all"], 120, "50"), ([200, 50], 125, "50"), (["all"], 7, "all"), ([50, "all"], 10**9, "50")]
)
def test_the_nearest_size_is_a_number_where_there_is_one(sizes, wanted, nearest):
    assert wording.nearest_size(sizes, wanted) == nearest


def test_radii_are_written_as_people_write_them():
    assert wording.eps_text("linf", 8 / 255) == "L∞ 8/255"
    assert wording.threat_text("linf", 8 / 255) == "Linf, eps = 8/255"
    assert wording.threat_text("l2", 0.5) == "L2, eps = 0.5"
    assert wording.eps_text("linf", 0.5 / 255) == "L∞ 0.5/255"
    assert wording.eps_text("l2", 3.0) == "L2 3"


def test_differences_have_a_sign_and_zero_has_none():
    assert [wording.signed(value) for value in (1.25, -1.25, 0.0, -0.01)] == ["+1.2", "−1.2", "0.0", "0.0"]
    assert wording.signed(-0.126, 2) == "−0.13"


def test_lists_and_counts_read_as_sentences():
    assert [wording.listed(names) for names in (["a"], ["a", "b"], ["a", "b", "c"])] == ["a", "a and b", "a, b and c"]
    assert [wording.count_text(n) for n in ([], [20, 20], [20, 1])] == ["n = 0", "n = 20", "n = 20 down to 1"]
    assert [wording.images(n) for n in (1600, "50", "all")] == ["1,600 images", "50 images", "all images"]
    assert [wording.block_text(blocks) for blocks in ("0", "1", "all")] == ["0 blocks", "1 block", "all blocks"]
    assert [wording.counted(n, "pass", "passes") for n in (0, 1, 2000)] == ["0 passes", "1 pass", "2,000 passes"]
    assert [wording.counted(n, "image") for n in (1, 2)] == ["1 image", "2 images"]
    assert [wording.number(value) for value in (-1.25, -0.04, 3)] == ["−1.2", "0.0", "3.0"]
