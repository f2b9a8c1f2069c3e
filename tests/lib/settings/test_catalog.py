"""The catalog of models against the published tables: every model is there, with its accuracy, its radius and its own address."""

from pathlib import Path

import pandas as pd
import pytest
import torchvision
from ruamel.yaml import YAML

from stages.lib.networks.architectures import BLOCKS
from stages.lib.settings import params
from stages.lib.settings.catalog import Fetched, Trained

ROOT = Path(__file__).resolve().parents[3]
ENTRIES = {name: params.source_entry(name, ROOT / params.MODEL_CATALOG) for name in params.read_yaml(ROOT / params.MODEL_CATALOG)}
SALMAN = {name: entry for name, entry in ENTRIES.items() if name.startswith("salman_")}
ARCHITECTURES = {"densenet": "densenet161", "mnasnet": "mnasnet1_0", "mobilenet": "mobilenet_v2", "shufflenet": "shufflenet_v2_x1_0"}


@pytest.mark.parametrize(
    "path", [params.DATA_CATALOG, params.MODEL_CATALOG, params.PARAMS, *sorted(Path("profiles").glob("*.yaml"))], ids=str
)
def test_dvc_reads_what_the_stages_read(path):
    """Its parser is stricter: an address within brackets has to be in quotes."""
    assert YAML(typ="safe").load(ROOT / path) == params.read_yaml(ROOT / path)


def test_every_model_of_salman_et_al_is_there_with_its_accuracy_and_radius():
    table = pd.read_csv(Path(__file__).with_name("salman_imagenet_accuracy.csv"))
    assert len(table) == len(SALMAN) == 67
    said = {(ARCHITECTURES.get(r.arch, r.arch), r.norm if r.eps else None, r.eps): r.imagenet_top1 for r in table.itertuples()}
    for name, entry in SALMAN.items():
        scale = 255 if entry.threat and entry.threat.norm == "linf" else 1
        eps = round(entry.threat.eps * scale, 9) if entry.threat else 0.0
        assert said[entry.architecture, entry.threat and entry.threat.norm, eps] == entry.published_accuracy, name


def test_their_files_are_named_as_published():
    names = {entry.file.name for entry in SALMAN.values()}
    assert len(names) == 67
    assert {
        "resnet50_l2_eps1.ckpt",
        "resnet18_l2_eps0.01.ckpt",
        "resnet50_linf_eps4.0.ckpt",
        "densenet_l2_eps3.ckpt",
        "vgg16_bn_l2_eps0.ckpt",
    } <= names
    assert all(
        entry.file.mirrors == [f"https://huggingface.co/madrylab/robust-imagenet-models/resolve/main/{entry.file.name}"]
        for entry in SALMAN.values()
    )


@pytest.mark.parametrize("source", ["l2_eps3", "linf_eps4_255", "linf_eps8_255"])
def test_the_models_of_utrera_et_al_are_others_than_salmans(source):
    table = pd.read_csv(ROOT / "stages/studies/utrera2021/published/sources.csv").set_index("source")
    entry = ENTRIES[f"utrera_{source}"]
    assert entry.published_accuracy == table.loc[source, "imagenet_top1"]
    [twin] = [
        e
        for e in SALMAN.values()
        if e.architecture == "resnet50" and e.threat and (e.threat.norm, e.threat.eps) == (entry.threat.norm, entry.threat.eps)
    ]
    assert twin.published_accuracy != entry.published_accuracy


@pytest.mark.parametrize("source", ["pgd1_l2_eps3", "gaussian_l2_eps3"])
def test_trained_sources_of_utrera_et_al_have_the_published_accuracy_of_their_perturbation(source):
    table = pd.read_csv(ROOT / "stages/studies/utrera2021/published/sources.csv").set_index("source")
    entry = ENTRIES[source.replace("_", "_resnet50_", 1)]
    assert (entry.architecture, entry.dataset, entry.published_accuracy) == ("resnet50", "imagenet", table.loc[source, "imagenet_top1"])


def test_trained_sources_of_shafahi_et_al_have_the_published_accuracy_of_their_data_and_threat_and_those_of_a_half_none():
    table = pd.read_csv(ROOT / "stages/studies/shafahi2020/published/tables.csv")
    own = table[table["setting"] == "trained on target"]
    published = {(r.target.rstrip("+"), r.source_model): r.clean_accuracy for r in own.itertuples()}
    found = {name: entry for name, entry in ENTRIES.items() if name.startswith("wrn_")}
    assert len(found) == 6
    for name, entry in found.items():
        model = "robust" if entry.threat else "natural"
        assert entry.architecture == "madry_wide_resnet32_10"
        assert entry.published_accuracy == (None if entry.part else published[entry.dataset, model]), name
    assert {name for name, e in ENTRIES.items() if isinstance(e, Trained) and e.published_accuracy} == {
        "pgd1_resnet50_l2_eps3", "gaussian_resnet50_l2_eps3", "free4_resnet50_linf_eps5_255",
        *(name for name in found if not name.endswith("half")),
    }  # fmt: skip


@pytest.mark.parametrize("name", [name for name in ENTRIES if name.startswith("torchvision_")])
def test_natural_weights_are_those_that_torchvision_names_with_their_accuracy(name):
    theirs = torchvision.models.get_model_weights(ENTRIES[name].architecture).IMAGENET1K_V1
    assert ENTRIES[name].file.mirrors == [theirs.url]
    assert ENTRIES[name].published_accuracy == theirs.meta["_metrics"]["ImageNet-1K"]["acc@1"]
    assert (ENTRIES[name].mean, ENTRIES[name].std) == (theirs.transforms().mean, theirs.transforms().std)


def test_every_fetched_file_is_of_a_known_architecture_and_of_its_own():
    fetched = [entry for entry in ENTRIES.values() if isinstance(entry, Fetched)]
    assert {entry.architecture for entry in fetched} <= set(BLOCKS)
    assert len({entry.file.name for entry in fetched}) == len(fetched) == 67 + 3 + 9 + 6
    for entry in fetched:
        if entry.file.sha256 and len(entry.file.sha256) < 64:
            assert f"-{entry.file.sha256}." in entry.file.name
            assert entry.mean == [0.485, 0.456, 0.406]
