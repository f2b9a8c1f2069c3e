"""The page of a recommendation: what it says, that it needs nothing else, and how it looks on a desk and a phone."""

import re
from dataclasses import replace

import made_answer
import pytest
from browser import WIDTHS, beyond, browser, needs_chromium, shown

from stages.recommending.shown import page


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """An answer about a folder of images, and its page."""
    folder = tmp_path_factory.mktemp("recommendation")
    made_answer.images(folder / "mine")
    answer = made_answer.answer(folder / "mine")
    page.write(folder / page.NAME, answer)
    return answer, folder / page.NAME


def words(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html[html.index("<body>") :]).split())


def test_it_says_the_answer_and_how_sure(mine):
    text = words(mine[1].read_text())
    for said in (
        "Take l2_eps0_5 and fine-tune 1 block of it.", "cannot be told apart at 100 labels", "3 of 4 choices that there was time for can be the best",
        "1 is behind, with a probability of 95 %. 2 more may be better.", "83.0 % right of 90 images", "+3.5 points for 58 more labels",
        "accuracy under attack, L∞ 4/255", "22 of 30 right", "2 mistakes, most often cup taken for fish (7)", "273 k", "272 k parameters",
        "cup → fish 93&nbsp;%", "cup/broken.jpg", "dial_0_natural : with frozen features 20.1 points behind", "round 2: 4 with 10 draws",
    ):  # fmt: skip
        assert said in text, said
    assert "nan" not in text.lower().split()


def test_it_needs_nothing_else_and_the_same_answer_gives_the_same_bytes(mine, tmp_path):
    answer, path = mine
    html = path.read_text()
    for outside in ("http://", "https://", "<script", "<link", "@import", 'src="/', "url(h", "<?xml", "xmlns"):
        assert outside not in html, outside
    page.write(tmp_path / page.NAME, answer)
    assert (tmp_path / page.NAME).read_bytes() == path.read_bytes()


def test_images_that_are_gone_are_not_shown(mine):
    html = mine[1].read_text()
    assert html.count("data:image/jpeg") == 4, "one of each class, and of two mistakes the one that is there"
    assert 'alt="cup, taken for fish"' in html


def test_names_of_classes_and_files_are_text(mine):
    answer = replace(mine[0], classes=["<b>", "cup", "fish"], notes=["<script>alert(1)</script>"])
    html = page.render(answer, {})
    assert "&lt;b&gt;" in html
    assert "<script" not in html


def test_without_time_it_says_so(mine):
    rows = [replace(row, beside={}, low=None, high=None) for row in mine[0].ranking[:1]]
    answer = replace(
        mine[0],
        ranking=rows,
        tied=[rows[0].name],
        undecided=[],
        model={},
        curve=[],
        gains=[],
        confusion=[],
        wrong=[],
        examples=[],
        proxies=[],
    )
    text = words(page.render(answer, {}))
    assert "There was no time for runs with other numbers of labels" in text
    assert "What it gets wrong" not in text
    assert "Your model" not in text


def test_of_robustness_the_accuracy_without_an_attack_is_called_so(mine):
    measures = {"mean": "accuracy under attack, L∞ 4/255", "beside": "accuracy"}
    html = page.render(replace(mine[0], aim="robustness", measures=measures), {})
    assert "right of 90 images that no decision saw, without an attack" in words(html)
    assert words(html).count("accuracy under attack, L∞ 4/255") >= 2


def test_of_many_classes_the_pairs_that_are_confused_most_are_listed(mine):
    classes = [f"class {i:02d}" for i in range(40)]
    confusion = [[20 if i == j else 7 if (i, j) == (3, 4) else 0 for j in range(40)] for i in range(40)]
    html = page.render(replace(mine[0], classes=classes, confusion=confusion, examples=[""] * 40), {})
    assert '<td>class 03</td><td class="left">class 04</td><td>7</td>' in html
    assert 'class="confusion"' not in html


@pytest.mark.parametrize(
    ("values", "ticks"),
    [((81.0, 84.0, 87.0), [80, 82, 84, 86, 88]), ((0.0, 0.0, 0.0), [0, 2]), ((100.0, 100.0, 100.0), [98, 100]), ((35.0, 60.0, 99.9), [20, 40, 60, 80, 100])],
)  # fmt: skip
def test_an_axis_holds_all_values_between_round_numbers(values, ticks):
    axis = page.axis_of([dict(zip(("low", "mean", "high"), values, strict=True))])
    assert axis.ticks == ticks
    assert all(0 <= float(axis.place(value)) <= 100 for value in values)


@needs_chromium
def test_nothing_reaches_beyond_the_screen_of_a_phone_or_a_desk(mine, tmp_path):
    answer = mine[0]
    long = "a_class_with_a_name_that_is_much_longer_than_others"
    files = page.pictures(tmp_path, [])
    (tmp_path / "long.html").write_text(page.render(replace(answer, classes=[long, *answer.classes[1:]], tied=answer.tied[:1]), files))
    with browser() as chromium:
        for width in WIDTHS:
            for path in (mine[1], tmp_path / "long.html"):
                with shown(chromium, path, width) as opened:
                    assert beyond(opened) == [], (width, path)
        with shown(chromium, mine[1], 390) as opened:
            widths = opened.evaluate("[...document.querySelectorAll('.pair svg')].map(e => e.getBoundingClientRect().width)")
            assert all(250 < width < 390 for width in widths), "a phone shows figures whole"
