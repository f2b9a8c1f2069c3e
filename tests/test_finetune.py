"""Fine-tuning as a stage: the table, kept weights, what is computed again and what is not, and what goes wrong."""

import numpy as np
import pandas as pd
import pytest
from torch import nn

from stages import draw_subsets, evaluate_robustness, finetune, source, upscale
from stages.lib.datasets import sets
from stages.lib.errors import RunError
from stages.lib.networks import inference, sources
from stages.lib.runs import attacked, grid
from stages.lib.runs.jobs import Batch
from stages.lib.runs.work.attacked import network_of
from stages.lib.settings import params
from stages.lib.store import cells, tables
from stages.lib.workers import pool

OUT = tables.finetuned("natural")


@pytest.fixture
def ready(source_ready):
    return source_ready


@pytest.fixture
def done(runs_ready):
    """With the runs of natural, and with those of another source."""
    return runs_ready


def computed_cells() -> int:
    return len(list(cells.folder("finetune").rglob("*.json")))


def test_each_model_of_a_source_learns_from_subsets_of_its_own(source_ready):
    source_ready.edit("params.yaml", source__n_models=2, draw_subsets__n_seeds=3)
    draw_subsets.main("digits")
    for name in ("natural", "random"):
        source.main(name)
        finetune.main(name)
    table = pd.read_parquet(source_ready.folder / "models/finetuned/natural/runs.parquet")
    models = table.groupby(["n_images", "seed"])["source_model"].unique().map(list)
    assert models.groupby("n_images").agg(list).tolist() == [[[0], [1], [0]]] * 2
    assert set(pd.read_parquet(source_ready.folder / "models/finetuned/random/runs.parquet")["source_model"]) == {0}
    kept = {path.name for path in (source_ready.folder / "models/finetuned/natural/weights").glob("*/*.safetensors")}
    assert kept == {"1_40_20000000.safetensors"}, "of the first model"


def test_the_table_has_a_row_for_every_evaluated_epoch_of_every_run(done):
    table = pd.read_parquet(OUT / "runs.parquet")
    assert dict(table.dtypes.astype(str)) == {k: "string" if v == "string" else v for k, v in tables.RUNS.items()}
    assert len(table) == 2 * 2 * 2 * 2  # blocks x n_images x seeds x epochs
    assert table.epoch.unique().tolist() == [1, 2]
    assert table.test_accuracy.between(0, 100).all()
    assert table.cell.nunique() == 8


def test_random_is_trained_whole(ready):
    finetune.main("random")
    assert pd.read_parquet(tables.finetuned("random") / "runs.parquet").blocks.unique().tolist() == ["all"]


def test_all_targets_are_in_one_table_and_one_of_them_can_be_computed_before(ready):
    ready.edit("params.yaml", targets=["digits", "glyphs"], blocks=[1])
    draw_subsets.main("glyphs")
    finetune.main("natural", ["glyphs"])
    assert not OUT.exists(), "a job of a cluster writes no results"
    assert computed_cells() == 4
    kept = {path: path.stat().st_mtime_ns for path in cells.folder("finetune").rglob("*.json")}
    finetune.main("natural")
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert pd.read_parquet(OUT / "runs.parquet").target.tolist() == ["digits"] * 8 + ["glyphs"] * 8
    files = {path.relative_to(OUT / "weights").as_posix() for path in OUT.glob("weights/**/*") if path.is_file()}
    assert files == {"settings.json", "digits/1_40_20000000.safetensors", "glyphs/1_40_20000000.safetensors"}


def test_weights_are_kept_where_the_settings_say_so(done):
    assert sorted(p.name for p in OUT.glob("weights/digits/*.safetensors")) == ["1_40_20000000.safetensors"]


def test_weights_that_are_no_longer_kept_go(done):
    done.edit("params.yaml", finetune__keep__n_images=[20])
    finetune.main("natural")
    assert sorted(p.name for p in OUT.glob("weights/digits/*.safetensors")) == ["1_20_20000000.safetensors"]


def test_fewer_blocks_afterwards_compute_nothing_and_more_compute_the_new_ones_only(done):
    both, before = pd.read_parquet(OUT / "runs.parquet"), computed_cells()
    done.edit("params.yaml", blocks=1)
    finetune.main("natural")
    assert computed_cells() == before
    alone = pd.read_parquet(OUT / "runs.parquet")
    pd.testing.assert_frame_equal(alone, both[both.blocks == "1"].reset_index(drop=True))
    done.edit("params.yaml", blocks=[1, 3])
    finetune.main("natural")
    assert computed_cells() == before + 4


def test_a_damaged_cell_is_computed_again_to_the_same_table(done, capsys):
    before = (OUT / "runs.parquet").read_bytes()
    [damaged] = cells.folder("finetune").rglob(f"{pd.read_parquet(OUT / 'runs.parquet').cell[0]}*.json")
    damaged.write_text("{")
    finetune.main("natural")
    assert "damaged cell" in capsys.readouterr().err
    assert (OUT / "runs.parquet").read_bytes() == before


def test_several_processes_give_the_table_that_one_gives(done):
    before = (OUT / "runs.parquet").read_bytes()
    for path in cells.folder("finetune").rglob("*.json"):
        path.unlink()
    done.edit("params.yaml", grid__workers=3)
    finetune.main("natural")
    assert (OUT / "runs.parquet").read_bytes() == before


def test_runs_that_fail_are_listed_and_computed_the_next_time(ready):
    weights = sources.paths("natural", 0)[0]
    whole = weights.read_bytes()
    weights.write_bytes(whole[:1000])
    ready.edit("params.yaml", finetune__frozen_batchnorm="batch", blocks=[0])  # so that no activations are computed before
    failure = r"finetune@natural: 4 of 4 runs failed; .*digits, blocks 0, n_images 40, seed 20000000, lr 0\.05; and 1 more: .*its sha256 is not that of its card"
    with pytest.raises(RunError, match=failure):
        finetune.main("natural")
    assert not (OUT / "runs.parquet").exists()
    weights.write_bytes(whole)
    finetune.main("natural")
    assert len(pd.read_parquet(OUT / "runs.parquet")) == 4 * 2


def test_runs_that_diverge_are_in_the_table_and_their_networks_are_attacked(ready):
    """With a flag, an accuracy and no loss; and attacks on weights that are no numbers leave what the first class is right for."""
    ready.edit("params.yaml", finetune__lr=1.0e38, finetune__epochs=6, blocks=[1])
    finetune.main("natural")
    table = pd.read_parquet(OUT / "runs.parquet")
    last = table[table.epoch == 6]
    share = 100 * (sets.load("digits", "test")[1] == 0).mean()
    assert len(last) == 4
    assert last.diverged.all()
    assert last.train_loss.isna().all()
    assert last.test_accuracy.to_numpy() == pytest.approx(share)
    evaluate_robustness.main("natural")
    attacked_table = pd.read_parquet(tables.robustness("natural") / "robustness.parquet")
    of_kept = attacked_table[attacked_table.model == "finetuned"]
    assert len(of_kept)
    assert of_kept.accuracy.nunique() == 1
    checks = pd.read_parquet(tables.robustness("natural") / "checks.parquet")
    assert not checks[checks.model == "finetuned"].passed.all(), "the report doubts the figure"
    with np.load(tables.robustness("natural") / "examples.npz") as examples:
        assert all(np.isfinite(array).all() for array in examples.values())


def test_longest_runs_come_first(ready, monkeypatch):
    order = []
    original = pool.Pool.run_all

    def watched(self, function, tasks):
        order.extend(task.requests[0].cell.n_images for task in tasks if isinstance(task, Batch))
        return original(self, function, tasks)

    monkeypatch.setattr(pool.Pool, "run_all", watched)
    finetune.main("random")
    assert order
    assert order == sorted(order, reverse=True)


AS_RELEASED = {
    "frozen_batchnorm": "batch",
    "augmentation": "published",
    "normalisation": {"natural": "target", "others": "source"},
    "head_init": "normal",
}
POLICIES = {
    "as a rule": ("natural", "digits", {"frozen_batchnorm": "source"}),
    "as released, grey": ("natural", "digits", AS_RELEASED),
    "as released, colour": ("natural", "glyphs", AS_RELEASED),
    "adapted, at a low resolution": ("natural", "digits", {"frozen_batchnorm": "adapted", "resolution": 4}),
    "adapted, augmented": ("natural", "glyphs", {"frozen_batchnorm": "adapted", "augmentation": "published"}),
    "fixed features on resized crops": (
        "natural",
        "digits",
        {"frozen_batchnorm": "batch", "augmentation": "resized_crop", "normalisation": "none"},
    ),
    "normalised by the target": ("natural", "digits", {"normalisation": "target"}),
    "whole network": ("natural", "digits", AS_RELEASED | {"blocks": "all"}),
    "from random weights": ("random", "glyphs", {"normalisation": "target", "augmentation": "published", "resolution": 8}),
}


@pytest.mark.parametrize("name", POLICIES)
def test_kept_weights_give_back_the_model_that_the_run_ended_with(name, ready):
    """Whatever the run changed besides the trained weights: statistics of the frozen part, normalisation, resolution."""
    source_name, target, changes = POLICIES[name]
    draw_subsets.main(target)
    ready.edit(
        "params.yaml",
        targets=[target],
        blocks=changes.get("blocks", 1),
        **{f"finetune__{k}": v for k, v in changes.items() if k != "blocks"},
    )
    finetune.main(source_name)
    table = pd.read_parquet(tables.finetuned(source_name) / "runs.parquet")
    [model] = [m for m in attacked.networks_of(source_name) if m.kind == "finetuned"]
    ended = table[(table.n_images == model.n_images) & (table.seed == model.seed) & (table.epoch == 2)].test_accuracy.item()
    network = network_of(model)
    seen = inference.CutNetwork(nn.Identity(), network, inference.View(16, model.resolution))
    assert inference.accuracy(seen, *sets.load(target, "test")) == pytest.approx(ended)


def test_a_size_without_epochs_is_refused(ready):
    ready.edit("params.yaml", finetune__epochs={"from_30": 2, "all": 1})
    with pytest.raises(RunError, match=r"^params\.yaml: finetune\.epochs holds from 30 images on; allowed: from 20 or fewer"):
        finetune.main("natural")


def test_grey_targets_are_augmented_only_where_asked_for_and_sources_are_normalised_as_is_said(ready):
    digits, glyphs = sets.card_of("digits"), sets.card_of("glyphs")
    ready.edit("params.yaml", finetune__augmentation="published", finetune__normalisation={"natural": "target", "others": "source"})
    settings = params.section("finetune")
    natural = sources.card_of("natural")
    assert grid.job_of(natural, digits, settings).augmentation == "none"
    assert grid.job_of(natural, glyphs, settings).augmentation == "published"
    assert grid.job_of(natural, digits, settings).moments == (digits.mean, digits.std)
    by_target = {"digits": "none", "glyphs": {"mean": [0.1] * 3, "std": [0.4] * 3}, "others": "source"}
    ready.edit("params.yaml", finetune__normalisation=by_target, finetune__lr={"glyphs": [0.1, 0.2], "others": 0.3})
    jobs = [grid.job_of(natural, images, params.section("finetune")) for images in (digits, glyphs)]
    assert [job.moments for job in jobs] == [([0.0] * 3, [1.0] * 3), ([0.1] * 3, [0.4] * 3)]
    assert [job.rates for job in jobs] == [(0.3,), (0.1, 0.2)]
    other = natural.model_copy(update={"name": "other"})
    assert grid.job_of(other, digits, settings).moments is None
    ready.edit("params.yaml", finetune__normalisation={"natural": "imagenet", "others": "published"}, finetune__augment_grey=True)
    ready.edit("params.yaml", finetune__lr={"natural": 0.05, "others": 0.1}, finetune__head_init={"natural": "normal", "others": "default"})
    settings = params.section("finetune")
    assert grid.job_of(natural, digits, settings).augmentation == "published"
    assert grid.job_of(natural, digits, settings).moments == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    with pytest.raises(RunError, match=r"data/catalog\.yaml: digits\.normalisation is missing"):
        grid.job_of(other, digits, settings)
    published = digits.model_copy(update={"published_mean": [0.1] * 3, "published_std": [0.3] * 3})
    jobs = [grid.job_of(card, published, settings) for card in (natural, other)]
    assert jobs[1].moments == ([0.1] * 3, [0.3] * 3)
    assert [(job.rates, job.head_init) for job in jobs] == [((0.05,), "normal"), ((0.1,), "default")]


def test_epochs_follow_table_4(ready):
    ready.edit("params.yaml", finetune__epochs={"from_1": 2, "from_40": 3, "all": 1}, finetune__eval_every={"from_1": 1, "from_40": 2}, draw_subsets__n_images=[20, 40, "all"],
               draw_subsets__n_seeds={"from_1": 2, "all": 1}, blocks=0)  # fmt: skip
    draw_subsets.main("digits")
    finetune.main("natural")
    table = pd.read_parquet(OUT / "runs.parquet")
    assert table.groupby("n_images").epoch.unique().map(list).to_dict() == {20: [1, 2], 40: [1, 3], 1000: [1]}
    assert table.groupby("n_images").seed.nunique().to_dict() == {20: 2, 40: 2, 1000: 1}


def test_images_stored_at_their_own_size_give_the_runs_of_up_scaled_ones(done):
    expected = pd.read_parquet(OUT / "runs.parquet")
    assert sets.load("digits", "train")[0].shape[1:] == (16, 16, 1)
    done.edit("params.yaml", upscale__store="native")
    upscale.main("digits")
    assert sets.load("digits", "train")[0].shape[1:] == (8, 8, 1)
    finetune.main("natural")
    found = pd.read_parquet(OUT / "runs.parquet")
    assert not set(found.cell) & set(expected.cell)
    np.testing.assert_allclose(found.train_loss, expected.train_loss, rtol=0.02)  # Pillow rounds a little otherwise
    np.testing.assert_allclose(found.test_accuracy, expected.test_accuracy, atol=1)
