"""Settings: what is right is read, and each kind of wrong input gives one line with file, key, what was found, what is allowed."""

from pathlib import Path

import pytest
import yaml

from stages.lib.datasets import catalog as datasets
from stages.lib.datasets.kinds.procedural import Glyphs
from stages.lib.errors import RunError
from stages.lib.settings import catalog, fields, params
from stages.studies import registry

ROOT = Path(__file__).resolve().parents[3]
MISSING = object()
GLYPHS = {"kind": "procedural", "set": "glyphs", "classes": 24, "channels": 3, "size": 32, "train": 48, "test": 24, "seed": 1,
          "clutter": 0.2, "min_contrast": 0.3, "texture_amplitude": 0.1, "texture_correlation": 0.9}  # fmt: skip
TRAINED = {"kind": "trained", "architecture": "small_resnet", "dataset": "glyphs", "threat": {"norm": "l2", "eps": 0.5}, "seeds": [0]}
FETCHED = {"kind": "fetched", "architecture": "resnet18", "dataset": "imagenet", "threat": None, "classes": 1000,
           "file": {"name": "w.safetensors", "mirrors": ["w.safetensors"], "sha256": "0" * 64}, "mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]}  # fmt: skip


@pytest.fixture(autouse=True)
def _workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def changed(content: dict, key: str, value: object) -> dict:
    """`content` with one key, given with dots, set or taken out."""
    content = yaml.safe_load(yaml.safe_dump(content))
    *parents, last = key.split(".")
    place = content
    for parent in parents:
        place = place[parent]
    if value is MISSING:
        del place[last]
    else:
        place[last] = value
    return content


def write_params(key: str, value: object) -> None:
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    Path("params.yaml").write_text(yaml.safe_dump(changed(content, key, value)))


def refusal(read) -> str:
    """The line with which `read` refuses what it was given."""
    with pytest.raises(params.SettingsError) as error:
        read()
    line = str(error.value)
    assert "\n" not in line
    assert isinstance(error.value, RunError)
    return line


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("source.lr", "fast", "a valid number"),
        ("source.lr", True, "a number"),
        ("source.lr", 0, "greater than 0"),
        ("source.lr", float("nan"), "a finite number"),
        ("source.lr", "inf", "a finite number"),
        ("source.momentum", 1.0, "less than 1"),
        ("source.epochs", 1.5, "a valid integer"),
        ("source.epochs", True, "a valid integer"),
        ("source.epochs", "12", "a valid integer"),
        ("source.epochs", 0, "greater than or equal to 1"),
        ("source.attack.step_ratio", 1.5, "greater than 1.5"),
        ("source.attack.step_ratio", 4, "less than 4"),
        ("source.attack.eps_ramp", 1.1, "less than or equal to 1"),
        ("source", None, "keys with values"),
        ("source", [1], "keys with values"),
        ("evaluate_robustness.attacks.apgd_ce_t_pgd.steps", 0, "greater than or equal to 1"),
        ("evaluate_robustness.linf", 0.3, "a valid list"),
        ("evaluate_robustness.linf", None, "a valid list"),
        ("finetune.head_init", "zeros", "'normal' or 'default'"),
        ("finetune.lr", 0, "greater than 0"),
        ("finetune.epochs", 0, "greater than or equal to 1"),
        ("upscale.image_size", 7, "greater than or equal to 8"),
        ("draw_subsets.n_images", [], "at least 1 item"),
        ("draw_subsets.n_images", [50, 100, 50], "nothing twice, and 50 is"),
        ("blocks", [0, 1, 0], "nothing twice, and 0 is"),
        ("blocks", [], "at least 1 item"),
        ("sources", ["natural", "natural"], "nothing twice, and 'natural' is"),
        ("report.natural", "a.b", "pattern"),
        ("track.experiment", "", "at least 1 character"),
    ],
)
def test_a_wrong_value_is_named_with_its_key_and_what_is_allowed(key, value, allowed):
    write_params(key, value)
    line = refusal(registry.load_params)
    assert line.startswith(f"params.yaml: {key} is {value!r}; allowed: ")
    assert allowed in line


@pytest.mark.parametrize(
    ("key", "position", "value", "allowed"),
    [
        ("evaluate_robustness.l2", 1, [0.5, -0.1], "greater than or equal to 0"),
        ("evaluate_robustness.linf", 0, [-1e-9], "greater than or equal to 0"),
        ("blocks", 0, [-1], "greater than or equal to 0"),
        ("blocks", 1, [0, 0.5], "a valid integer"),
        ("blocks", 1, [0, "al"], "'all'"),
        ("blocks", 0, [True], "a valid integer"),
        ("sources", 1, ["natural", "a.b"], "pattern"),
        ("targets", 0, [3], "a valid string"),
        ("datasets", 0, [""], "pattern"),
    ],
)
def test_a_wrong_item_of_a_list_is_named_with_its_position(key, position, value, allowed):
    write_params(key, value)
    line = refusal(registry.load_params)
    assert line.startswith(f"params.yaml: {key}.{position} is {value[position]!r}; allowed: ")
    assert allowed in line


@pytest.mark.parametrize("key", ["sources", "finetune", "finetune.keep", "source.attack.steps", "report.headline.n_images"])
def test_a_missing_key_is_named(key):
    write_params(key, MISSING)
    assert refusal(registry.load_params) == f"params.yaml: {key} is missing"


def test_a_norm_without_its_list_of_radii_is_not_evaluated_and_none_at_all_is_refused():
    write_params("evaluate_robustness.l2", MISSING)
    settings = registry.section("evaluate_robustness")
    assert settings.norms == ["linf"]
    assert len(settings.radii("linf")) == 3
    content = yaml.safe_load(Path("params.yaml").read_text())
    Path("params.yaml").write_text(yaml.safe_dump(changed(content, "evaluate_robustness.linf", MISSING)))
    line = refusal(registry.load_params)
    assert line.startswith("params.yaml: evaluate_robustness is {")
    assert line.endswith("allowed: a list of radii for one norm or more: l2, linf")


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("finetun", "finetune"),
        ("source.epoch", "epochs"),
        ("source.attack.step_ration", "step_ratio"),
        ("finetune.keep.n_image", "n_images"),
        ("report.headline.block", "blocks"),
    ],
)
def test_an_unknown_key_is_named_with_the_known_ones_and_the_nearest(key, meant):
    write_params(key, 1)
    line = refusal(registry.load_params)
    assert line.startswith(f"params.yaml: {key} is no known key; allowed: ")
    assert line.endswith(f"(did you mean {meant!r}?)")


@pytest.mark.parametrize("key", ["glyphs", "textures", "random", "int", "source.trained", "blocks[0]", "finetune.keep.blocks[0]"])
def test_an_unknown_key_is_named_also_when_it_is_called_like_a_kind_or_an_item(key):
    write_params(key, 1)
    line = refusal(registry.load_params)
    assert line.startswith(f"params.yaml: {key} is no known key; allowed: ")


def test_all_that_is_wrong_stands_in_one_line():
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    content = changed(changed(content, "source.lr", -1), "finetune.epochs", MISSING)
    Path("params.yaml").write_text(yaml.safe_dump(content))
    line = refusal(registry.load_params)
    assert "params.yaml: source.lr is -1; allowed: greater than 0" in line
    assert "params.yaml: finetune.epochs is missing" in line


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"- 1\n- 2\n",
        b"just text",
        b"a: [1, 2",
        b"a: b: c",
        b"a: &x [*y]",
        b"\tsource: 1",
        b"a: \x00",
        b"\xff\xfe\x80",
        b"a: 2020-13-45",
    ],
    ids=["empty", "list", "text", "open bracket", "two colons", "unknown alias", "tab", "null byte", "not UTF-8", "no such date"],
)
def test_a_file_that_holds_no_settings_is_one_line(content):
    Path("params.yaml").write_bytes(content)
    assert refusal(registry.load_params).startswith("params.yaml: ")
    assert refusal(lambda: registry.section("blocks")).startswith("params.yaml: ")


def test_a_missing_file_is_one_line():
    assert refusal(registry.load_params) == "params.yaml: the file is missing"
    assert refusal(lambda: params.source_entry("natural")) == "models/catalog.yaml: the file is missing"


def test_a_missing_section_is_named():
    write_params("blocks", MISSING)
    assert refusal(lambda: registry.section("blocks")) == "params.yaml: blocks is missing"


@pytest.mark.parametrize(
    ("key", "value", "found"),
    [
        ("blocks", 1, [1]),
        ("blocks", "all", ["all"]),
        ("blocks", [0, 3, "all"], [0, 3, "all"]),
        ("sources", "natural", ["natural"]),
        ("draw_subsets.n_images", 100, [100]),
        ("finetune.keep.blocks", 0, [0]),
        ("finetune.keep.unattacked", "0,all", [0, "all"]),
        ("finetune.keep.unattacked", [], []),
        ("finetune.keep.unattacked", MISSING, []),
    ],
)
def test_a_single_value_stands_for_a_list_of_one(key, value, found):
    write_params(key, value)
    read = registry.load_params()
    for part in key.split("."):
        read = getattr(read, part)
    assert read == found


@pytest.mark.parametrize("written", ["1e-4", "'1e-4'", "1.0e-4", "0.0001", "1.0e-04"])
def test_a_number_in_any_notation_of_yaml_is_the_number(written):
    text = (ROOT / "params.yaml").read_text().replace("weight_decay: 0.0005", f"weight_decay: {written}")
    Path("params.yaml").write_text(text)
    assert registry.section("finetune").weight_decay == 1e-4


def test_the_settings_of_the_repository_are_right():
    for name in params.read_yaml(ROOT / params.PARAMS):
        assert registry.section(name, ROOT / params.PARAMS) == getattr(registry.load_params(ROOT / params.PARAMS), name)
    for path, entry in ((params.DATA_CATALOG, datasets.dataset_entry), (params.MODEL_CATALOG, params.source_entry)):
        for name in params.read_yaml(ROOT / path):
            assert entry(name, ROOT / path).kind


def test_settings_do_not_change_once_read():
    source = registry.section("source", ROOT / params.PARAMS)
    with pytest.raises(ValueError, match="frozen"):
        source.lr = 1.0


def write_entry(path: Path, content: object, name: str = "it") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({name: content}))


@pytest.mark.parametrize(
    ("entry", "key", "value", "allowed"),
    [
        (TRAINED, "threat.eps", -0.5, "greater than or equal to 0"),
        (TRAINED, "threat.norm", "l1", "'l2' or 'linf'"),
        (TRAINED, "seeds", [], "at least 1 item"),
        (TRAINED, "dataset", "data.glyphs", "pattern"),
        (FETCHED, "file.sha256", "ABC", "pattern"),
        (FETCHED, "classes", "1000", "a valid integer"),
        (FETCHED, "std", [0.2, 0.2], "at least 3 items"),
        (GLYPHS, "classes", 25, "less than or equal to 24"),
        (GLYPHS, "channels", 2, "1 or 3"),
        (GLYPHS, "texture_correlation", 1.5, "less than or equal to 1"),
        (GLYPHS, "min_contrast", 0.6, "less than or equal to 0.5"),
    ],
)
def test_a_wrong_value_of_a_catalog_entry_is_named(entry, key, value, allowed):
    path, read = (params.DATA_CATALOG, datasets.dataset_entry) if entry is GLYPHS else (params.MODEL_CATALOG, params.source_entry)
    write_entry(path, changed(entry, key, value))
    line = refusal(lambda: read("it"))
    assert line.startswith(f"{path}: it.{key} is {value!r}; allowed: ")
    assert allowed in line


def test_a_wrong_seed_of_a_model_is_named_by_its_place():
    write_entry(params.MODEL_CATALOG, TRAINED | {"seeds": [0, -1]})
    line = refusal(lambda: params.source_entry("it"))
    assert line == f"{params.MODEL_CATALOG}: it.seeds.1 is -1; allowed: greater than or equal to 0"


@pytest.mark.parametrize(
    ("entry", "key", "meant"),
    [
        (TRAINED, "datset", "dataset"),
        (TRAINED, "threat.epss", "eps"),
        (FETCHED, "file.mirors", "mirrors"),
        (GLYPHS, "clutte", "clutter"),
        (GLYPHS, "texture_corelation", "texture_correlation"),
    ],
)
def test_an_unknown_key_of_a_catalog_entry_is_named_with_the_nearest(entry, key, meant):
    path, read = (params.DATA_CATALOG, datasets.dataset_entry) if entry is GLYPHS else (params.MODEL_CATALOG, params.source_entry)
    write_entry(path, changed(entry, key, 1))
    line = refusal(lambda: read("it"))
    assert line.startswith(f"{path}: it.{key} is no known key; allowed: ")
    assert line.endswith(f"(did you mean {meant!r}?)")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (changed(TRAINED, "kind", "traind"), ["traind", "'kind'", "'trained', 'fetched', 'timm', 'random'"]),
        (changed(TRAINED, "kind", MISSING), ["'kind'"]),
        (changed(GLYPHS, "set", "glyph"), ["glyph", "'set'", "'glyphs', 'glyphs_conflict', 'textures'"]),
        (changed(GLYPHS, "set", MISSING), ["'set'"]),
        (3, ["it is 3", "allowed"]),
        (None, ["it is None", "allowed"]),
    ],
)
def test_an_entry_of_no_known_kind_is_refused_with_the_kinds(content, words):
    data = isinstance(content, dict) and "size" in content
    path, read = (params.DATA_CATALOG, datasets.dataset_entry) if data else (params.MODEL_CATALOG, params.source_entry)
    write_entry(path, content)
    line = refusal(lambda: read("it"))
    assert line.startswith(f"{path}: it")
    assert [word for word in words if word not in line] == []


def test_a_name_that_is_in_no_entry_gets_the_names_that_are():
    write_entry(params.MODEL_CATALOG, TRAINED, "natural")
    assert refusal(lambda: params.source_entry("naturl")) == (
        "models/catalog.yaml: 'naturl' is in no entry; allowed: natural (did you mean 'natural'?)"
    )


def test_a_catalog_whose_names_are_numbers_is_read_all_the_same():
    write_entry(params.MODEL_CATALOG, TRAINED, 8)
    assert refusal(lambda: params.source_entry("natural")).startswith("models/catalog.yaml: 'natural' is in no entry; allowed: 8")


def test_an_entry_is_of_its_own_type():
    write_entry(params.MODEL_CATALOG, FETCHED)
    assert isinstance(params.source_entry("it"), catalog.Fetched)
    write_entry(params.MODEL_CATALOG, TRAINED)
    assert params.source_entry("it").threat == catalog.Threat(norm="l2", eps=0.5)
    write_entry(params.DATA_CATALOG, GLYPHS)
    assert isinstance(datasets.dataset_entry("it"), Glyphs)


@pytest.mark.parametrize(
    ("written", "found"),
    [
        (0.1, {"random": [0.1], "natural": [0.1]}),
        ([0.1, 0.01], {"random": [0.1, 0.01], "natural": [0.1, 0.01]}),
        ({"random": 0.02, "others": [0.1, 0.2]}, {"random": [0.02], "natural": [0.1, 0.2]}),
    ],
)
def test_a_value_may_differ_by_source(written, found):
    write_params("finetune.lr", written)
    settings = registry.section("finetune")
    assert {name: fields.by_source(settings.lr, name) for name in found} == found
    assert settings.model_dump()["lr"] == written


@pytest.mark.parametrize(
    ("written", "found"),
    [
        (10, {25: 10, 1000: 10, "all": 10}),
        ({"from_1": 20, "from_100": 10, "all": 1}, {25: 20, 99: 20, 100: 10, 1000: 10, "all": 1}),
        ({"from_10": 3, "from_50": 2}, {25: 3, 50: 2, "all": 2}),
    ],
)
def test_a_value_holds_from_its_number_of_images_on(written, found):
    write_params("draw_subsets.n_seeds", written)
    values = registry.section("draw_subsets").n_seeds
    for size, value in found.items():
        assert fields.by_size(values, 2000 if size == "all" else size, whole=size == "all") == value


def test_a_size_below_every_number_of_images_has_no_value():
    write_params("finetune.epochs", {"from_100": 5})
    with pytest.raises(KeyError):
        fields.by_size(registry.section("finetune").epochs, 50, whole=False)


@pytest.mark.parametrize("value", [{}, {"all": 3}, {"from_0": 3}, {"100": 3}, {100: 3}, {"to_100": 3}])
def test_values_by_size_that_hold_from_nowhere_are_refused(value):
    write_params("finetune.epochs", value)
    assert "allowed: one value, or several as {from_100: 20, from_3200: 10, all: 1}" in refusal(registry.load_params)
