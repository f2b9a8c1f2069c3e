"""params.yaml as DVC writes it: DVC's own function changes the lines of one key of it, and no others."""

import difflib
import shutil
from functools import cache
from pathlib import Path

import pytest
import yaml
from dvc.utils.hydra import apply_overrides

from stages.lib.settings import overlays, params, written

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "profiles"
OF_ALL = ["blocks=1", "blocks=[1,3]", "blocks=all", "datasets=[]", "finetune.lr=0.03", "finetune.keep.n_seeds=2", "finetune.resolution=16", "grid.executor=ray",
          "evaluate_robustness.attacks.apgd_ce_t_pgd.steps=5", "evaluate_robustness.linf=[]", "evaluate_robustness.l2=[0.5]", "download.attempts=2", "upscale.store=native",
          "source.attack.eps_hold=0.2", "source.batch_size=32", "grid.workers=2", "report.headline.blocks=3", "report.utrera2021.robust=natural",
          "track.experiment=mine", "track.models=best", "track.register=mine", "report.utrera2021.similar=[]", "draw_subsets.n_images=[100]", "experiments=[]"]  # fmt: skip
OF_EXPERIMENTS = ["retrain.k=[1]", "retrain.measured.eps=0.1", "retrain.measured.attacks.pgd20.steps=5", "retrain.training.lr=0.5", "retrain.sources=[]",
                  "train_heads.kinds.regularised.dropout=0.5", "train_heads.targets=[digits]", "train_heads.training.drops=[]", "harden.natural_head.drops=[]", "harden.attack.replay=4", "harden.sources=[]", "harden.targets=[]",
                  "harden.from_scratch.steps=2", "learn_without_forgetting.lambda_d=[0.5]", "learn_without_forgetting.measured.max_images=8"]  # fmt: skip
PROFILES = overlays.available(FOLDER)


@cache
def text_of(profile: str) -> str:
    return written.text_of([profile], FOLDER)


def flow(node: yaml.Node) -> bool:
    return bool(getattr(node, "flow_style", True))


def lines_of(text: str, key: str) -> range:
    """The numbers of the lines of a key, given with dots, and of its value."""
    node = yaml.compose(text, params.SafeLoader)
    for part in key.split("."):
        name, node = next((k, v) for k, v in node.value if k.value == part)
    return range(name.start_mark.line, name.start_mark.line + 1 if flow(node) else node.value[-1].end_mark.line + 1)


@pytest.mark.parametrize(
    ("profile", "change"),
    [*((name, change) for name in ("default", "embedded-full", "paper") for change in OF_ALL), *(("embedded-full", change) for change in OF_EXPERIMENTS)],
)  # fmt: skip
def test_a_change_by_dvc_changes_the_lines_of_its_key(profile, change, tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(before := text_of(profile))
    apply_overrides(path, [change])
    after = path.read_text()
    key, _, value = change.partition("=")
    assert lookup(params.read_yaml(path), key) == yaml.safe_load(value)
    old, new = before.splitlines(), after.splitlines()
    changed = [block[1:] for block in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes() if block[0] != "equal"]
    own_old, own_new = set(lines_of(before, key)), set(lines_of(after, key))
    for start, end, new_start, new_end in changed:
        assert set(range(start, end)) <= own_old
        assert set(range(new_start, new_end)) <= own_new
    assert changed or lookup(yaml.safe_load(before), key) == yaml.safe_load(value)


def lookup(content: dict, key: str) -> object:
    for part in key.split("."):
        content = content[part]
    return content


def test_the_committed_file_is_what_the_command_writes_of_the_default():
    text = (ROOT / "params.yaml").read_text()
    assert text == written.text_of(["default"], FOLDER)
    assert len(text.splitlines()) < 90


@pytest.mark.parametrize("name", PROFILES)
def test_dvc_writes_the_file_back_as_it_is(name, tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(text := text_of(name))
    assert params.read_yaml(path) == overlays.merged([name], FOLDER)
    apply_overrides(path, [])
    assert path.read_text() == text


@pytest.mark.parametrize("name", PROFILES)
def test_each_key_with_lines_below_it_says_what_it_is(name):
    text = text_of(name)
    assert not [line for line in text.splitlines() if line.endswith((":", ": #", ":  #")) and not line.startswith("#")]


def test_comments_of_a_profile_take_the_place_of_those_of_the_default(tmp_path):
    shutil.copy2(FOLDER / "base.yaml", tmp_path)
    (tmp_path / "mine.yaml").write_text(
        "# Mine,\n# for a test\n\nblocks: 1 # only the last\nfinetune:\n  # slower,\n  # as it is small\n  lr: 0.03\n  epochs: 3\n"
    )
    text = written.text_of(["mine"], tmp_path)
    head, _, rest = text.partition("datasets:")
    assert head.endswith("\n#\n# Profile mine:\n# Mine,\n# for a test\n")
    assert "\nblocks: 1 # only the last\n" in rest
    assert "\n  # slower,\n  # as it is small\n  lr: 0.03 # a tenth of it every" in rest
    assert "\n  epochs: 3\n" in rest


def test_a_key_that_needs_a_comment_and_has_none_gets_an_empty_one(tmp_path):
    """Without, DVC would write the line after it on its own, where a list above becomes empty, and no reader could read the file."""
    (tmp_path / "base.yaml").write_text("a:\n  b: [1, 2]\n  c: 3\nd:\n  e: {f: 1}\ng: [4]\n")
    path = tmp_path / "params.yaml"
    path.write_text(written.text_of([], tmp_path))
    apply_overrides(path, ["a.b=[]"])
    assert params.read_yaml(path) == {"a": {"b": [], "c": 3}, "d": {"e": {"f": 1}}, "g": [4]}


def test_comments_are_read_at_the_end_of_lines_and_above_keys():
    text = "# head\n\n# of a\na: &x # one\n  b: [1, 2] # two\n  c: null # three\n  d: '#'\n  e: {f: 1} # four\n  # of g\n  g: text # five\nh: *x # six\n"
    notes = written.notes_of(text)
    assert notes.header == ["# head"]
    assert notes.above[("a",)] == ["# of a"]
    assert notes.above[("a", "g")] == ["# of g"]
    places = {("a",): "one", ("a", "b"): "two", ("a", "c"): "three", ("a", "e"): "four", ("a", "g"): "five", ("h",): "six"}
    assert {place: comment for place, comment in notes.beside.items() if place[0] == "a" or len(place) == 1} == places
    assert notes.braces == {("a",): False, ("a", "e"): True, ("h",): False, ("h", "e"): True}


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (1, "1"), (0.05, "0.05"), (1e-7, "1.0e-07"), (True, "true"), ("all", "all"), ([], "[]"), ({}, "{}"),
     ([1, "a", None], "[1, a, null]"), ({"a": [0.5], "b": {"c": 1e-5}}, "{a: [0.5], b: {c: 1.0e-05}}")],
)  # fmt: skip
def test_a_value_on_one_line_is_read_as_the_same_value(value, text):
    assert written.inline(value) == text
    assert yaml.safe_load(text) == value
