"""What README.md and docs/ name exists: files, settings, profiles, stages, architectures, entries of catalogs, headings."""

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest
from documents import BLOCKS, CODE, DATASETS, PAGES, PROFILES, SOURCES, STAGES, TRACKED, Page, exists, is_generated, names_in
from repository import ROOT

from stages.lib.networks import architectures
from stages.lib.settings import overlays
from stages.studies import registry

SETTINGS = [overlays.merged([name], ROOT / "profiles") for name in PROFILES]
RELATIVE = {
    "natural/digits/1_100_20000000",
    "train/<class>/",
    "val/<class>/",
    "published/",
}  # a model; to a folder of images, and to that of a study
MOST_LINES = {"README.md": 149}


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_block_is_of_a_language_that_is_checked(block):
    assert block.language in ("console", "yaml", "text", "python")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in page.links:
        if not link.startswith(("https://", "http://")):
            name, _, anchor = link.partition("#")
            target = (page.path.parent / name).resolve() if name else page.path
            assert target.exists(), link
            assert not anchor or anchor in Page(target).anchors, link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_in_backticks_exist_or_are_made(page):
    for text in page.in_backticks:
        if re.fullmatch(r"(\.?\w[\w.<>*-]*/)+[\w.<>*-]*", text) and text not in RELATIVE:
            assert exists(text) or is_generated(text), text
        elif re.fullmatch(r"[\w-]+\.(py|yaml|md|csv|json|toml|txt|sh|parquet|npz|lock|db|j2)", text):
            assert {text} & {Path(name).name for name in TRACKED} or f'"{text}"' in CODE or is_generated(text), text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_settings_in_backticks_are_keys_of_a_profile(page):
    sections = {section for settings in SETTINGS for section in settings}
    for text in page.in_backticks:
        key = re.fullmatch(r"(\w+(?:\.\w+)+)(?:: .+)?", text)
        if key and key[1].split(".")[0] in sections and not key[1].endswith((".py", ".yaml")):
            assert any(has(settings, key[1].split(".")) for settings in SETTINGS), text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_word_in_backticks_is_one_of_the_project(page):
    read = [ROOT / name for name in TRACKED if name.endswith((".py", ".yaml", ".toml", "Makefile")) and not name.startswith("tests/")]
    words = {word for path in read for word in re.findall(r"\w+", path.read_text())} | {*PROFILES}
    assert {text for text in page.in_backticks if text.isidentifier()} - words == set()


def has(settings: object, keys: list[str]) -> bool:
    return not keys or (isinstance(settings, dict) and keys[0] in settings and has(settings[keys[0]], keys[1:]))


def rows(head: str) -> list[list[str]]:
    """Of all tables whose first column has this head."""
    return [row for page in PAGES for table in page.tables if table[0][0] == head for row in table[1:]]


def test_tables_name_every_profile_stage_experiment_and_architecture_and_no_other():
    known = {"profile": PROFILES, "stage": STAGES, "experiment": registry.EXPERIMENTS, "architecture": architectures.BLOCKS}
    for head, names in known.items():
        assert {name for row in rows(head) for name in names_in(row[0])} == set(names), head


def test_architectures_have_as_many_blocks_as_is_said():
    for row in rows("architecture"):
        assert {architectures.BLOCKS[name] for name in names_in(row[0])} == {int(row[-1])}


def test_tables_of_entries_name_all_of_both_catalogs():
    patterns = [re.sub(r"<\w+>", "*", name) for row in rows("entries") for name in names_in(row[0])]
    assert {name for name in DATASETS | SOURCES if not any(fnmatch(name, pattern) for pattern in patterns)} == set()
    assert {pattern for pattern in patterns if not any(fnmatch(name, pattern) for name in DATASETS | SOURCES)} == set()


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "text"], ids=str)
def test_the_tree_of_the_house_is_the_one_on_disk(block):
    above, shown = {}, set()
    for line in block.text.splitlines():
        indent, name = re.match(r"( *)(\S+)", line).groups()
        above = {depth: folder for depth, folder in above.items() if depth < len(indent)} | {len(indent): name}
        shown.add("".join(above[depth] for depth in sorted(above)))
    assert {name for name in shown if not (ROOT / name).exists()} == set()
    rooms = {f"{path.parent.relative_to(ROOT).as_posix()}/" for path in (ROOT / "stages").rglob("__init__.py")}
    assert rooms <= shown


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_are_short(page):
    assert page.text.count("\n") <= MOST_LINES.get(page.name, 199)
