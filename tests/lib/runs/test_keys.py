"""Keys cannot lie: all that computes a cell is in its key, to the last constant, and no word about it."""

import shutil
from pathlib import Path

import kinds
import processes
import pytest
import traced

from stages.lib.store import code, syntax

NOT_ALLOWED = ("stages/lib/settings/", "stages/lib/workers/", "stages/lib/report/", "stages/lib/progress.py", "stages/lib/store/journal.py",
               "stages/lib/store/tracking.py", "stages/lib/store/cells.py", "stages/lib/runs/grid.py")  # fmt: skip
TESTED = {
    "attack",
    "checks",
    "retrain",
    "train_heads",
    "harden",
    "learn_without_forgetting",
    "shape_bias",
    "texture_attack",
    "texture_dial",
}  # on drawn images
OPTIMISED = {"visualise", "invert"}  # images, on drawn ones, too


@pytest.fixture(scope="module")
def traces(tmp_path_factory) -> dict[str, dict]:
    """Of each kind of cell: the files that ran or were loaded for it, and the modules that its key holds."""
    return processes.forked(traced.traces, tmp_path_factory.mktemp("traced"))


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_what_runs_while_a_cell_is_computed_is_in_its_key(kind, traces):
    [held] = traces[kind]["held"]
    in_key = {path.as_posix() for path in code.closure(*held)}
    ran = {path for path in traces[kind]["files"] if not path.endswith("__init__.py")}  # which are empty, as test_layout.py holds
    assert len(ran) > 5, "the trace saw nothing"
    assert sorted(ran - in_key) == []


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_what_plans_stores_and_shows_is_in_no_key(kind, traces):
    [held] = traces[kind]["held"]
    assert not [path for path in code.closure(*held) if path.as_posix().startswith(NOT_ALLOWED)]


@pytest.fixture
def keys(tmp_path, monkeypatch):
    """A copy of the modules, and a function that gives the key of each kind of cell by the code of this copy."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    kinds.prepare(tmp_path)
    shutil.copytree(code.ROOT / "stages", tmp_path / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    known = syntax.Known()
    works = {kind: make() for kind, (_, make) in kinds.KINDS.items()}

    def current() -> dict[str, str]:
        tree = code.Tree(tmp_path, known)
        monkeypatch.setattr(code, "tree", lambda: tree)
        return {kind: work.key() for kind, work in works.items()}

    return current


def test_each_constant_of_what_computes_a_cell_is_in_its_key_and_no_word_is(keys, traces):
    before = keys()
    closures = {kind: set(code.closure(*traces[kind]["held"][0])) for kind in kinds.KINDS}
    every = sorted(set().union(*closures.values()))
    assert len(every) > 30
    texts = {path: path.read_text() for path in every}
    for path, text in texts.items():
        path.write_text(text.replace('"""', '"""In other words: ', 1) + '\n# a comment\n"""A string that documents."""\n')
    assert keys() == before, "a word"
    for path, text in texts.items():
        path.write_text(text)
    for path, text in texts.items():
        path.write_text(f"{text}\n_MUTATION = 1\n")
        after = keys()
        assert {kind for kind in after if after[kind] != before[kind]} == {kind for kind in closures if path in closures[kind]}, path
        path.write_text(text)
    assert keys() == before


def test_a_number_deep_inside_a_function_is_in_the_key(keys):
    before = keys()
    for name, number, other, changed in (
        (
            "stages/lib/training/finetuning.py",
            "self.lr * falls",
            "self.lr * falls * 2",
            set(kinds.KINDS) - {"source", "detect", "information", "texture_attack", "class_means", "measure_distance", *OPTIMISED},
        ),
        ("stages/lib/runs/work/finetune.py", "batch.requests[0]", "batch.requests[-1]", {"finetune", "finetune_timm"}),
        ("stages/lib/runs/work/attacked.py", "labels[drawn]", "labels[drawn] + 0", {"attack", "checks"}),
        ("stages/lib/datasets/sampling.py", "SEED = 0", "SEED = 1", TESTED | {"information"} | OPTIMISED),
        ("stages/lib/attacks/inversion.py", "1 - step / steps", "1 - step / (steps + 1)", OPTIMISED),
        ("stages/lib/information/fisher_of_weights.py", "beta / 2 / (", "beta / 3 / (", {"invert", "information"}),
        ("stages/studies/salman2020/detection/detectors.py", "RATIOS = (0.5,", "RATIOS = (0.6,", {"detect"}),
    ):
        text = Path(name).read_text()
        assert number in text
        Path(name).write_text(text.replace(number, other))
        after = keys()
        assert {kind for kind in after if after[kind] != before[kind]} == changed, name
        Path(name).write_text(text)
