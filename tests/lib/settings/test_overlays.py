"""Profiles over the base: what is merged, joined and replaced, and one clear line, with file and key, for each thing that is wrong."""

import shutil
from pathlib import Path

import pytest

from stages import check
from stages.lib.settings import overlays, params
from stages.lib.settings.params import SettingsError
from stages.studies import registry

ROOT = Path(__file__).resolve().parents[3]
PROFILES = [
    "cifar10-one-gpu",
    "default",
    "embedded-full",
    "embedded-salman",
    "embedded-shafahi",
    "embedded-terzi",
    "embedded-terzi-information",
    "embedded-utrera",
    "embedded-why-features",
    "embedded-why-influence",
    "embedded-why-shape",
    "own-images",
    "paper",
    "paper-fast",
    "paper-last-code",
    "paper-table4-seeds",
    "salman-detection",
    "salman-fixed",
    "salman-fixed-fast",
    "salman-full",
    "shafahi-cifar100",
    "shafahi-imagenet",
    "terzi-cifar10",
    "terzi-cifar100",
    "terzi-imagenet",
    "utrera-why-features",
    "utrera-why-influence",
    "utrera-why-shape",
]


@pytest.fixture(autouse=True)
def _profiles(tmp_path, monkeypatch):
    """A folder with the base alone, which is the current one."""
    monkeypatch.chdir(tmp_path)
    overlays.FOLDER.mkdir()
    shutil.copy2(ROOT / "profiles/base.yaml", overlays.FOLDER)


def write(**profiles: str) -> None:
    for name, text in profiles.items():
        (overlays.FOLDER / f"{name}.yaml").write_text(text)


def refusal(*names: str) -> str:
    with pytest.raises(SettingsError) as error:
        overlays.load(list(names), kind=registry.Params)
    line = str(error.value)
    assert "\n" not in line
    return line


def changed(*names: str) -> dict:
    """The keys in which the profiles differ from the base, with their values."""
    return {key: value for key, _, value in overlays.changes(overlays.merged([]), overlays.merged(list(names)))}


def test_the_profiles_that_are_named_in_the_documents_exist(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert overlays.available() == ["default", "base", *(name for name in PROFILES if name != "default")]


@pytest.mark.parametrize("name", ["base", *PROFILES])
def test_everything_that_a_profile_asks_for_can_be_run(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert check.problems(overlays.load([name], kind=registry.Params)) == []


def test_what_sources_see_is_asked_of_the_models_of_the_study_beside_it(monkeypatch):
    """Else twelve models would be trained anew, and the minutes in README and docs/why.md would be others."""
    monkeypatch.chdir(ROOT)
    features, study = (overlays.merged([name]) for name in ("embedded-why-features", "embedded-utrera"))
    assert features["source"] == study["source"]
    assert set(features["models"]) <= set(study["models"])


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_holds_only_what_differs_from_the_base(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    own = params.read_yaml(overlays.path_of(name))
    assert same(own, overlays.merged(own.pop("profiles", []))) <= overlays.JOINED  # of which other profiles add more


def same(above: dict, below: dict, place: str = "") -> set[str]:
    """The keys, with dots, whose values are the same in both; that of its `kind` stands in each mapping that has kinds."""
    keys = {key for key in above.keys() & below.keys() if key != "kind"}
    inner = [
        same(above[key], below[key], f"{place}{key}.") for key in keys if overlays._has_keys(above[key]) and overlays._has_keys(below[key])
    ]
    return {f"{place}{key}" for key in keys if above[key] == below[key]}.union(*inner)


def test_mappings_are_merged_key_by_key_and_all_else_replaces():
    write(mine="finetune: {lr: 0.03, keep: {n_seeds: 2}}\nblocks: 1\ndatasets: [glyphs, digits]\ntargets: [digits]\n")
    assert changed("mine") == {
        "finetune.lr": 0.03,
        "finetune.keep.n_seeds": 2,
        "blocks": 1,
        "datasets": ["glyphs", "digits"],
        "targets": ["digits"],
    }


def test_a_mapping_of_another_kind_replaces_the_whole_and_one_of_the_same_kind_is_merged():
    write(other="source:\n  schedule: {kind: stepwise, decays: 2}\n", same="source:\n  schedule: {kind: one_cycle, warmup: 0.3}\n")
    assert overlays.merged(["other"])["source"]["schedule"] == {"kind": "stepwise", "decays": 2}
    assert changed("same") == {"source.schedule.warmup": 0.3}


def test_what_is_above_replaces_a_value_by_a_mapping_and_an_empty_mapping_changes_nothing():
    write(mine="finetune: {normalisation: {natural: target, others: source}}\nsource: {}\n")
    assert changed("mine") == {"finetune.normalisation": {"natural": "target", "others": "source"}}


def test_profiles_that_are_used_together_join_their_lists_and_one_may_list_others():
    write(
        one="targets: [digits]\nmodels: [natural, random]\nfinetune: {lr: 0.03}\n",
        two="targets: textures\nmodels: [random, l2_eps0_5]\nfinetune: {lr: 0.03, epochs: 3}\n",
        both="# both\nprofiles: [one, two]\nfinetune: {lr: 0.2}\n",
    )
    together = {"targets": ["digits", "textures"], "models": ["natural", "random", "l2_eps0_5"], "finetune.epochs": 3}
    together.pop("targets")  # as the base has them
    assert changed("one", "two") == together | {"finetune.lr": 0.03}
    assert changed("both") == together | {"finetune.lr": 0.2}
    assert changed("one", "two", "one", "base") == changed("one", "two")
    assert "profiles" not in overlays.merged(["both"])


def test_the_base_alone_is_what_no_profile_changes():
    assert overlays.merged([]) == overlays.merged(["base"]) == params.read_yaml(overlays.FOLDER / "base.yaml")


@pytest.mark.parametrize(
    ("first", "second", "key"),
    [
        ("blocks: 1", "blocks: 3", "blocks"),
        ("finetune: {lr: 0.1}", "finetune: {lr: 0.2}", "finetune.lr"),
        ("draw_subsets: {n_images: [25]}", "draw_subsets: {n_images: [50]}", "draw_subsets.n_images"),
        ("source: {schedule: {kind: stepwise, decays: 2}}", "source: {schedule: {kind: one_cycle}}", "source.schedule.kind"),
        ("finetune: {normalisation: target}", "finetune: {normalisation: {natural: target, others: source}}", "finetune.normalisation"),
        ("finetune: {normalisation: {natural: target, others: source}}", "finetune: {normalisation: target}", "finetune.normalisation"),
    ],
)
def test_profiles_that_disagree_are_named_with_the_key(first, second, key):
    write(first=first, second=second)
    line = refusal("first", "second")
    assert line.startswith(f"profiles/second.yaml: {key} is ")
    assert "profiles/first.yaml says" in line


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("finetune: {epoch: 3}", ["profiles/mine.yaml: finetune.epoch is no known key", "epochs"]),
        ("finetun: {lr: 0.1}", ["profiles/mine.yaml: finetun is no known key", "finetune"]),
        ("finetune: {lr: fast}", ["profiles/mine.yaml: finetune.lr is 'fast'; allowed: a valid number"]),
        ("source: {schedule: {kind: stepwise}}", ["profiles/mine.yaml: source.schedule.decays is missing"]),
        ("report: {utrera2021: {robusd: x}}", ["profiles/mine.yaml: report.utrera2021.robusd is no known key", "robust"]),
        ("evaluate_robustness: {attacks: {pgd20: {kind: bim}}}", ["profiles/mine.yaml: evaluate_robustness.attacks.pgd20", "bim"]),
        ("blocks: [0, 0]", ["profiles/mine.yaml: blocks", "nothing twice"]),
        ("experiments: [retrain]\nretrain: {k: [1]}", ["profiles/mine.yaml: retrain.sources is missing"]),
        ("- a", ["profiles/mine.yaml: holds a list; allowed: keys with values"]),
        ("# nothing", ["profiles/mine.yaml: is empty; allowed: keys with values"]),
        ("blocks: [0", ["profiles/mine.yaml: not YAML"]),
        ("blocks: 1\nblocks: 3", ["profiles/mine.yaml: not YAML: the key 'blocks' is there twice"]),
        ("profiles: [mine]", ["profiles/mine.yaml: profiles: 'mine' includes itself: mine -> mine"]),
        ("profiles: [bas]", ["profiles/mine.yaml: profiles: 'bas' is no profile", "did you mean 'base'"]),
        ("profiles: base", ["profiles/mine.yaml: profiles is 'base'; allowed: a list of names"]),
        ("profiles: [{a: 1}]", ["profiles/mine.yaml: profiles is", "a list of names"]),
        ("profiles: [../mine]", ["profiles/mine.yaml: profiles is", "a list of names"]),
    ],
)
def test_what_is_wrong_in_a_profile_is_one_line_with_its_file_and_key(text, named):
    write(mine=text)
    line = refusal("mine")
    assert not [words for words in named if words not in line], line


def test_two_profiles_that_list_one_another_are_refused():
    write(one="profiles: [two]", two="profiles: [one]")
    assert refusal("one") == "profiles/two.yaml: profiles: 'one' includes itself: one -> two -> one"


def test_an_item_of_a_joined_list_is_named_with_the_profile_that_adds_it():
    write(one="targets: [digits]", two="targets: [textures, a.b]")
    assert refusal("two", "one").startswith("profiles/two.yaml: targets.1 is 'a.b'")
    assert refusal("one", "two").startswith("profiles/two.yaml: targets.2 is 'a.b'")


def test_an_error_in_the_base_names_the_base():
    write(mine="blocks: 1")
    path = overlays.FOLDER / "base.yaml"
    path.write_text(path.read_text().replace("lr: 0.05 # a tenth", "lr: -1 # a tenth"))
    assert refusal("mine").startswith("profiles/base.yaml: finetune.lr is -1; allowed: greater than 0")


@pytest.mark.parametrize("name", ["papr", "../params", "", "Paper"])
def test_an_unknown_profile_is_answered_with_those_that_there_are(name):
    write(paper="blocks: 1")
    line = refusal(name)
    assert line.startswith(f"{name!r} is no profile in profiles/; allowed: base, paper")
    assert ("did you mean 'paper'" in line) == (name in ("papr", "Paper"))


def test_a_difference_is_a_key_with_both_values():
    below, above = {"a": {"b": 1, "c": 2, "d": {}}, "e": [1]}, {"a": {"b": 1, "c": 3, "d": {"f": 4}}, "g": {"h": {}}}
    assert overlays.changes(below, above) == [("a.c", 2, 3), ("a.d.f", None, 4), ("e", [1], None), ("g.h", None, {})]
