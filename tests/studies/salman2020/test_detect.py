"""Detection: the backbone is the source, frozen as far as it is to be; every run leaves its AP; what cannot be run is one line."""

import re
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from detection import SCENES, SECTION, TASK
from repository import Repository, current
from torchvision.ops import FrozenBatchNorm2d

from stages import download, experiment, upscale
from stages.check import problems
from stages.lib.datasets.objects.scenes import Objects, Scene, Scenes, save
from stages.lib.datasets.sets import IMAGES, SplitCard, card_of, load, read
from stages.lib.errors import RunError
from stages.lib.networks import sources
from stages.lib.networks.pretrained import Pretrained
from stages.lib.store import files, tables
from stages.studies import registry
from stages.studies.salman2020.detection import backbone, batches, detectors
from stages.studies.salman2020.experiments import detect

OUT = tables.RESULTS / "detect"


@pytest.fixture(scope="module")
def ready(trained, tmp_path_factory):
    """A folder with sources and scenes, in which the experiment is on; it is the current one."""
    folder = tmp_path_factory.mktemp("detect")
    shutil.copytree(trained, folder, dirs_exist_ok=True)
    with current(folder) as repository:
        repository.edit("data/catalog.yaml", **{f"scenes__{key}": value for key, value in SCENES.items()})
        repository.edit("params.yaml", experiments=["detect"], detect=SECTION, datasets=["glyphs", "digits", "scenes"], grid__workers=1)
        download.main("scenes")
        upscale.main("scenes")
        yield repository


@pytest.fixture(scope="module")
def finished(ready) -> Repository:
    experiment.main("detect")
    return ready


def source_of(name: str) -> Pretrained:
    return sources.pretrained_of(sources.card_of(name))


def test_every_run_and_measure_has_a_row(finished):
    table = pd.read_parquet(OUT / "runs.parquet")
    assert dict(table.dtypes.astype(str)) == tables.EXPERIMENT_RUNS
    found = {key: set(rows["measure"]) for key, rows in table.groupby(["source", "method"])}
    boxes, masks = {"loss", "box_ap", "box_ap50"}, {"mask_ap", "mask_ap50"}
    assert found == {(s, m): boxes | (masks if m == "shapes" else set()) for s in SECTION["sources"] for m in ("letters", "shapes")}
    assert set(table["target"]) == {"scenes"}
    assert table[table["measure"] != "loss"]["value"].between(0, 100).all()
    arrays = np.load(OUT / "arrays.npz")
    assert np.array_equal(arrays["natural/scenes/shapes/1/image"], Scenes("scenes", *load("scenes", "test")).image(1))
    assert files.read_json(OUT / "settings.json")["tasks"]["shapes"]["iterations"] == 3


def test_a_finished_run_is_not_computed_again_and_a_lost_one_gives_the_same(finished):
    runs = registry.experiment_of("detect").runs(registry.section("detect"), sources.card_of)
    before = (OUT / "runs.parquet").read_bytes()
    [lost, *others] = sorted((finished.folder / ".cells/detect").rglob("*.json"))
    kept = [path.stat().st_mtime_ns for path in others]
    lost.unlink()
    experiment.main("detect")
    assert len(runs) == len(others) + 1
    assert [path.stat().st_mtime_ns for path in others] == kept
    assert (OUT / "runs.parquet").read_bytes() == before


def test_the_backbone_gives_the_features_of_the_source(ready):
    source = source_of("natural")
    body = backbone.of_source(source, 8, freeze_at=2).eval()
    network, x = source.network(), torch.rand(2, 3, 64, 64)
    seen = []
    body.pyramid = torch.nn.Identity()
    [*_, last] = body(network.normalise(x)).values()
    for name, unit in network.named_children():
        x = unit(x)
        seen.append(x)
        if name == "layer3_2":
            break
    assert torch.allclose(last, seen[-1], atol=1e-5)


@pytest.mark.parametrize("freeze_at", [0, 1, 2, 4])
def test_stages_are_frozen_from_the_stem_on_and_batch_norm_everywhere(ready, freeze_at):
    body = backbone.of_source(source_of("natural"), 8, freeze_at)
    trained = [any(p.requires_grad for p in part.parameters()) for part in (body.stem, *body.stages.values(), body.pyramid)]
    assert trained == [False] * freeze_at + [True] * (5 - freeze_at)
    assert not [module for module in body.modules() if isinstance(module, torch.nn.BatchNorm2d)]


def test_a_source_without_pretraining_is_trained_whole(ready):
    body = backbone.of_source(source_of("random"), 8, freeze_at=2)
    assert all(p.requires_grad for p in body.parameters())
    assert not [module for module in body.modules() if isinstance(module, FrozenBatchNorm2d)]


def test_a_training_changes_what_is_trained_alone(ready):
    torch.manual_seed(0)
    detector = detectors.build(source_of("natural"), 24, TASK)
    before = {name: tensor.clone() for name, tensor in detector.state_dict().items()}
    detect.fit(detector, Scenes("scenes", *load("scenes", "train")), TASK, seed=0)
    changed = {name.split(".")[1] if name.startswith("backbone.stem") else ".".join(name.split(".")[:3])
               for name, tensor in detector.state_dict().items() if not torch.equal(tensor, before[name])}  # fmt: skip
    assert not [name for name in changed if name in ("stem", "backbone.stages.layer1")]
    assert {"backbone.stages.layer2", "backbone.stages.layer3"} <= changed


def test_the_rate_warms_up_and_falls():
    how = {"lr": 2.0, "warmup": 10, "drops": [100, 200]}
    assert [detect.rate(i, how) for i in (0, 10, 99, 100, 200)] == pytest.approx([0.002, 2.0, 2.0, 0.2, 0.02])
    assert detect.rate(5, how) == pytest.approx(2 * (0.001 + 0.999 / 2))
    assert detect.rate(0, how | {"warmup": 0}) == 2.0


def test_each_image_is_seen_once_before_any_is_seen_again():
    seen = np.concatenate(list(batches.numbers(np.arange(5), 2, 10, np.random.default_rng(0))))
    assert [sorted(part) for part in np.split(seen, 4)] == [list(range(5))] * 4


def test_a_mirror_keeps_objects_on_their_pixels():
    x = torch.zeros(3, 8, 10)
    x[:, 2:4, 1:5] = 1
    mask = (x[:1] > 0).to(torch.uint8)
    mirrored, learnt = batches.flipped(x, {"boxes": torch.tensor([[1.0, 2, 5, 4]]), "labels": torch.tensor([1]), "masks": mask})
    left, top, right, bottom = learnt["boxes"][0].int().tolist()
    assert (mirrored[:, top:bottom, left:right] == 1).all()
    assert mirrored.sum() == x.sum()
    assert torch.equal(learnt["masks"][0] > 0, mirrored[0] > 0)


WRONG = {
    "sources": ({"sources": ["natural", "torchvision_vgg16_bn"]}, ["torchvision_vgg16_bn"], r"detect\.sources: torchvision_vgg16_bn is a vgg16_bn, whose blocks stand in no stages for a pyramid; allowed: small_resnet, small_resnet_x0_5, small_resnet_x2, resnet18"),
    "models": ({"sources": ["naturel"]}, [], r"detect\.sources: 'naturel' is not in params\.yaml: models"),
    "labels": ({"tasks": {"letters": TASK | {"dataset": "digits"}}}, [], r"detect\.tasks\.letters\.dataset: 'digits' has one label for each image; allowed: image sets with several objects in an image"),
    "datasets": ({"tasks": {"letters": TASK | {"dataset": "voc0712"}}}, [], r"detect\.tasks\.letters\.dataset: 'voc0712' is not in params\.yaml: datasets"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "models", "line"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_run_is_said_before_anything_starts(ready, changes, models, line):
    settings = registry.load_params()
    section = registry.EXPERIMENTS["detect"].settings(**(SECTION | changes))
    settings = settings.model_copy(update={"detect": section, "models": [*settings.models, *models]})
    [found] = [found for found in problems(settings) if "detect" in found]
    assert re.search(line, found)


def test_a_set_with_objects_is_no_target(ready):
    settings = registry.load_params()
    wrong = problems(settings.model_copy(update={"targets": ["digits", "scenes"]}))
    assert [
        line
        for line in wrong
        if "targets: 'scenes' has several objects in an image, with boxes; allowed: image sets with one label" in line
    ]


@pytest.mark.parametrize(("detector", "said"), [("mask_rcnn", True), ("faster_rcnn", False)])
def test_a_format_without_masks_is_refused_before_anything_starts(ready, detector, said):
    settings = registry.load_params()
    section = registry.EXPERIMENTS["detect"].settings(
        **(SECTION | {"tasks": {"shapes": TASK | {"detector": detector, "dataset": "voc0712"}}})
    )
    wrong = problems(settings.model_copy(update={"detect": section, "datasets": [*settings.datasets, "voc0712"]}))
    line = "detect.tasks.shapes.dataset: 'voc0712' has objects without masks; allowed: a set whose objects have masks, or faster_rcnn"
    assert any(line in found for found in wrong) == said


def test_masks_are_needed_by_mask_rcnn_alone(ready):
    splits = {}
    for split in ("train", "test"):
        scenes = Scenes("scenes", *load("scenes", split))
        bare = [Scene(scenes.file(i), *scenes.size(i), replace(scenes.objects(i), masks=[])) for i in range(len(scenes))]
        splits[split] = SplitCard(n=len(bare), sha256=save(IMAGES / "bare", split, bare))
    files.write_json(IMAGES / "bare" / "card.json", card_of("scenes").model_copy(update={"name": "bare", "splits": splits}).model_dump())
    runs = registry.experiment_of("detect").runs(registry.section("detect"), sources.card_of)
    boxes, shapes = (next(run for run in runs if run.method == method) for method in ("letters", "shapes"))
    with pytest.raises(RunError, match="bare: has objects without a mask, which shapes learns; allowed: a set with masks, or faster_rcnn"):
        detect.compute(replace(shapes, target="bare"), source_of("natural"), None)
    assert "box_ap" in detect.compute(replace(boxes, target="bare"), source_of("natural"), None)[0]


def test_a_set_without_objects_to_learn_from_is_told(ready):
    scenes = Scenes("scenes", *load("scenes", "train"))
    nothing = Objects(np.zeros(0, np.int64), np.zeros((0, 4), np.float32), np.zeros(0, bool), np.zeros(0, bool))
    save(IMAGES / "empty", "train", [Scene(scenes.file(0), *scenes.size(0), nothing)])
    with pytest.raises(RunError, match="empty: no training image has an object to learn from"):
        next(batches.training(Scenes("empty", *read(IMAGES / "empty", "train")), TASK, 0, torch.device("cpu")))
