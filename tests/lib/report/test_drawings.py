"""Drawn figures are kept: one is drawn again where a number or the code that draws it has changed, and only there."""

import shutil
from dataclasses import dataclass

import made
import numpy as np
import pandas as pd
import pytest

from stages.lib.report import drawings, looks
from stages.lib.report.section import Drawing
from stages.lib.store import code
from stages.studies.question import figures

LOOKS = looks.looks_of([("natural", "natural", "natural", 0.0), ("l2", "L2 0.5", "l2", 0.5)])
KEPT = b"<svg>kept</svg>"


def drawing(mean: float = 70.0, name: str = "accuracy") -> Drawing:
    table = pd.DataFrame({"source": "l2", "blocks": "1", "size": ["50", "100"], "mean": [60.0, mean], "low": 58.0, "high": 72.0})
    return Drawing(name, figures.accuracy, (table, LOOKS, "digits"))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """For the figures of a report; drawn ones are kept beside it."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    return tmp_path / "figures"


def kept(tmp_path) -> list:
    return sorted((tmp_path / ".cells/figures").rglob("*.*"))


def test_a_drawing_is_written_as_svg_and_png_and_its_svg_is_returned(folder):
    svgs = drawings.draw_all([drawing(), drawing(name="again")], folder)
    assert list(svgs) == ["accuracy", "again"]
    assert {path.name for path in folder.iterdir()} == {"accuracy.svg", "accuracy.png", "again.svg", "again.png"}
    assert (folder / "accuracy.svg").read_text() == svgs["accuracy"]
    assert (folder / "accuracy.png").read_bytes() == drawings.drawn(drawing())["png"]


def test_what_has_not_changed_is_not_drawn_again_and_a_changed_number_is(folder, tmp_path):
    drawn = drawings.draw_all([drawing()], folder)["accuracy"]
    for path in kept(tmp_path):
        path.write_bytes(KEPT)
    assert drawings.draw_all([drawing()], folder)["accuracy"] == KEPT.decode()
    changed = drawings.draw_all([drawing(71.0)], folder)["accuracy"]
    assert changed not in (drawn, KEPT.decode())
    assert len(kept(tmp_path)) == 4


def test_a_figure_of_which_one_file_is_gone_is_drawn_again(folder, tmp_path):
    drawn = drawings.draw_all([drawing()], folder)["accuracy"]
    for path in kept(tmp_path):
        path.unlink() if path.suffix == ".png" else path.write_bytes(KEPT)
    assert drawings.draw_all([drawing()], folder)["accuracy"] == drawn


def test_several_processes_draw_the_same_bytes_as_one(folder):
    several = [drawing(60.0 + i, f"figure{i}") for i in range(5)]
    with drawings.processes() as workers:
        drawings.draw_all(several, folder, workers)
    for each in several:
        alone = drawings.drawn(each)
        assert {kind: (folder / f"{each.name}.{kind}").read_bytes() for kind in drawings.KINDS} == alone


def forget() -> None:
    """What is remembered of files that do not change while a stage runs."""
    for function in vars(code).values():
        if hasattr(function, "cache_clear"):
            function.cache_clear()


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A copy of the code, whose hashes are taken in place of those of the code that runs."""
    shutil.copytree(made.ROOT / "stages", tmp_path / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code, "ROOT", tmp_path)
    forget()
    yield tmp_path
    forget()


def test_a_changed_module_of_those_that_draw_draws_anew_and_no_other_does(tree):
    modules = ["stages.studies.question.figures", "stages.lib.report.figures", "stages.lib.report.looks", "stages.lib.report.wording",
               "stages.lib.report.drawings"]  # fmt: skip
    before = drawings.key_of(drawing())
    for module in modules:
        path = tree / code.file_of(module)
        text = path.read_text()
        path.write_text(f"{text}\nCHANGED = 1\n")
        forget()
        assert drawings.key_of(drawing()) != before, module
        path.write_text(text)
    other = tree / code.file_of("stages.studies.utrera2021.figures")
    other.write_text(other.read_text() + "\nCHANGED = 1\n")
    forget()
    assert drawings.key_of(drawing()) == before


@dataclass
class Numbers:
    table: pd.DataFrame
    label: str


@pytest.mark.parametrize(
    "values",
    [
        (1, 1.0, True, "1", None),
        (np.float64(1.5), np.float64(2.5)),
        (np.zeros(2), np.zeros(2, np.float32), np.zeros((2, 1)), np.ones(2)),
        (pd.DataFrame({"a": [1, None]}), pd.DataFrame({"a": [1, 2]}), pd.DataFrame({"b": [1, 2]}), pd.DataFrame({"a": [1.0, 2.0]})),
        (pd.DataFrame({"a": [pd.NA]}), pd.DataFrame({"a": [np.zeros(2)]}), pd.DataFrame({"a": [np.ones(2)]})),
        (Numbers(pd.DataFrame({"a": [1]}), "x"), Numbers(pd.DataFrame({"a": [1]}), "y"), Numbers(pd.DataFrame({"a": [2]}), "x")),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 2, "b": 1}),
    ],
    ids=["plain", "numpy", "arrays", "tables", "cells of tables", "dataclasses", "mappings"],
)
def test_every_difference_of_an_argument_is_in_the_key(values):
    keys = [drawings.key_of(Drawing("figure", figures.accuracy, (value,))) for value in values]
    assert len(set(keys)) == len(values)
    assert keys == [drawings.key_of(Drawing("figure", figures.accuracy, (value,))) for value in values]


@pytest.mark.parametrize("value", [object(), {1, 2}, made.ROOT, lambda: 1], ids=["object", "set", "path", "function"])
def test_a_kind_of_argument_that_has_no_hash_is_an_error(value):
    with pytest.raises(TypeError, match="no drawing takes one; allowed: numbers, text, arrays, tables"):
        drawings.key_of(Drawing("figure", figures.accuracy, (value,)))


def test_the_files_that_no_report_has_used_for_long_are_removed(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(drawings, "KEPT", 4)
    first, second, third = (drawing(mean) for mean in (60.0, 61.0, 62.0))
    drawings.draw_all([first], folder)
    drawings.draw_all([second], folder)
    drawings.draw_all([first], folder)  # used again
    drawings.draw_all([third], folder)
    there = {path.stem for path in kept(tmp_path)}
    assert there == {drawings.key_of(each) for each in (first, third)}
