"""The plan: what a configuration costs, counted from settings and store, without touching anything."""

from collections import Counter

import pytest
from experiments import turn_on
from repository import dumped, loaded

from stages import evaluate_robustness, experiment, finetune, plan
from stages.lib.datasets.whole import Whole
from stages.lib.errors import RunError
from stages.lib.runs import costs, counts
from stages.lib.runs.planning import measuring
from stages.lib.store import cells, code
from stages.studies import registry


def counted() -> tuple[int, int]:
    """Runs that params.yaml here asks for, and those of them that are done."""
    settings = registry.load_params()
    pairs = [plan.pair_of(settings, source, target) for source in settings.sources for target in settings.targets]
    works = [work for pair in pairs for work in pair.work.values()]
    return sum(work.runs for work in works), sum(work.done for work in works)


def files_of(repository) -> dict:
    found = [path for path in repository.folder.rglob("*") if path.is_file() and not {".git", "__pycache__"} & set(path.parts)]
    return {path: path.stat().st_mtime_ns for path in found}


def test_it_counts_cells_and_those_that_are_done_and_leaves_everything_as_it_is(copy, monkeypatch, capsys):
    monkeypatch.chdir(copy.folder)
    monkeypatch.setattr(measuring, "measure", None)  # where nothing is to be computed, nothing is measured
    before = files_of(copy)
    assert counted() == (20, 20)
    plan.main([])
    said = capsys.readouterr().out
    assert "cells  20 of fine-tuning, of which 20 are done" in said
    assert "2 of training sources, of which 2 are done" in said
    attacks = len(list((copy.folder / ".cells/robustness").rglob("*.json")))
    assert f"{attacks} of attacks and their checks, of which {attacks} are done" in said
    assert "time   0 s on this machine" in said
    assert "not in it" not in said
    assert files_of(copy) == before
    copy.edit("params.yaml", draw_subsets__n_seeds=3)
    assert counted() == (30, 0)  # other subsets are to be drawn first
    copy.edit("params.yaml", draw_subsets__n_seeds=2, blocks=[0, 1, 2])
    assert counted() == (28, 20)


def test_each_rate_is_counted_and_once_more_where_images_are_held_out(source_ready):
    """And where batch norm changes what frozen parts give, the plan says how many images pass them again and again."""
    source_ready.edit("params.yaml", finetune__lr=[0.1, 0.01], finetune__select={"by": "test"})
    assert counted() == (2 * 20, 0)
    settings = registry.load_params()
    pairs = [plan.pair_of(settings, source, "digits") for source in settings.sources]
    assert [name for name, *_ in plan.counted(settings, pairs, plan.beside_of(settings))] == [
        "training sources",
        "attacks and their checks",
    ]
    [attacks] = [n for name, n, _ in plan.counted(settings, pairs, plan.beside_of(settings)) if name.startswith("attacks")]
    assert attacks == (2 + 2 + 2 + 2 + 2) * 2, "of two sources and of three kept models, at one of two rates, within two norms, with checks"
    held = {"by": "validation", "validation": 0.1}
    source_ready.edit("params.yaml", finetune__select=held, finetune__frozen_batchnorm="batch")
    assert counted() == (2 * 2 * 20, 0)
    settings = registry.load_params()
    pairs = [plan.pair_of(settings, source, target) for source in settings.sources for target in settings.targets]
    works = works_of(settings)
    trained = sum(work.trained for kind, work in works if kind.blocks != "all")
    assert trained == 2 * 2 * 2 * 2 * 2 * (20 + 40 + 18 + 36)  # sources, blocks, rates, seeds, epochs
    assert {kind.at_once for kind, _ in works if kind.blocks != "all"} == {(0, 0, 1, 1)}, "blocks and rates share a pass"
    [said] = [
        line for line in plan.report("it", settings, pairs, plan.beside_of(settings), plan.Speed({}, 1, 0.0)) if line.startswith("passes")
    ]
    assert said == "passes 0.00 million images through frozen parts, anew in each epoch: " + plan.ANEW
    source_ready.edit("params.yaml", finetune__frozen_batchnorm="source", finetune__select=held | {"by": "test"})
    settings = registry.load_params()
    assert all("train" in kind.fixed_within_a_run for kind, _ in works_of(settings) if kind.blocks != "all")
    source_ready.edit("params.yaml", finetune__select=held | {"validation": 0.01})
    with pytest.raises(RunError, match=r"finetune\.select\.validation is 0\.01, which of 20 images of 10 classes leaves none to choose by"):
        counted()


def test_views_pass_the_frozen_part_once_for_all_runs(source_ready):
    def needed(augmentation):
        source_ready.edit("params.yaml", blocks=[1], targets=["digits"], finetune__augmentation=augmentation)
        settings = registry.load_params()
        [entries] = [plan.pair_of(settings, "natural", "digits").kept]
        return sorted(entries, key=lambda entry: entry.runs)

    train, test = needed("none")
    anew = needed("crop_flip")
    viewed, viewed_test = needed({"kind": "crop_flip", "views": 2})
    assert [entry.held for entry in anew] == [viewed_test.held] == [test.held]
    assert viewed.held == 2 * train.held
    assert train.runs == [(n, 2 * n) for n in (20, 20, 40, 40)]  # each of the two epochs anew
    assert viewed.runs == [(2 * n, 2 * n) for n in (20, 20, 40, 40)]
    assert (viewed.kind.augmentation, viewed.kind.views, train.kind.views) == ("none", 2, None)


def works_of(settings) -> list:
    pairs = [plan.pair_of(settings, source, target) for source in settings.sources for target in settings.targets]
    return [item for pair in pairs for item in pair.work.items()]


def test_models_of_a_source_share_its_subsets(source_ready):
    source_ready.edit("params.yaml", source__n_models=2, draw_subsets__n_seeds=4)
    assert counted() == (2 * 2 * 2 * 4 + 2 * 4, 0)


def test_attacks_are_those_that_the_stage_makes_with_checks_of_one_seed_alone(runs_ready):
    """Of the sources natural and l2_eps0_5, and of three fine-tuned ones from two seeds each, within two norms."""
    runs_ready.edit("params.yaml", finetune__keep__n_seeds=2)
    for name in ("natural", "l2_eps0_5", "random"):
        finetune.main(name)
    evaluate_robustness.main("natural")
    asked = cells.folder("robustness").rglob("*.json")
    of_natural = (1 + 2 + 2) * 2  # attacks and checks
    settings = registry.load_params()
    pairs = [plan.pair_of(settings, source, "digits") for source in settings.sources]
    found = counts.attacks(settings, [cell for pair in pairs for _, cell in pair.with_weights])
    assert found == ((2 + 6 + 2 + 3) * 2, of_natural + (2 + 2) * 2)
    assert len(list(asked)) == found[1]


def of_experiments() -> dict[str, tuple[int, int]]:
    """Runs of each experiment that params.yaml here asks for, and those of them that are lacking."""
    beside = plan.beside_of(registry.load_params())
    return {name: (part.n, len(part.lacking)) for name, part in beside.items() if name != plan.TRAININGS}


def test_experiments_that_are_on_are_counted_with_what_is_done(source_ready):
    assert of_experiments() == {}
    turn_on(source_ready, "retrain", "harden", retrain__k=[1, 2], retrain__n_seeds=1, harden__n_seeds=2)
    assert of_experiments() == {"retrain": (3, 3), "harden": (12, 12)}
    experiment.main("retrain")
    assert of_experiments() == {"retrain": (3, 0), "harden": (12, 12)}


def test_it_needs_nothing_but_settings_and_catalogs_and_leaves_nothing(workspace):
    turn_on(workspace, "train_heads")
    workspace.edit("params.yaml", sources=["natural"], blocks=[1], grid__workers=1)
    before = files_of(workspace)
    lines = workspace.stage("plan").stdout.splitlines()
    assert {path for path in files_of(workspace) if path.name != "code.json"} == set(before)
    heads = next(line.split() for line in lines if "of train_heads" in line)
    assert int(heads[0]) > 0
    assert heads[1:] == ["of", "train_heads,", "of", "which", "0", "are", "done"]
    assert "cells  4 of fine-tuning, of which 0 are done" in lines
    assert "       2 of training sources, of which 0 are done" in lines
    attacks = "8 of attacks and their checks"  # of the source and of one kept run, within two norms, each with its checks
    assert f"       {attacks}, of which 0 are done" in lines
    [time] = [line for line in lines if line.startswith("time")]
    assert "start of 1 stages" in time
    assert ", training sources " in time
    assert f"; not in it: {attacks}, {heads[0]} of train_heads" in time
    assert any(line.startswith("disk") for line in lines)
    assert sum(line.startswith("| small_resnet |") for line in lines) == 1


def test_the_study_of_the_paper_is_counted_in_full(monkeypatch):
    """By hand, from the code that made Table 7: runs, images trained on and tested on."""
    monkeypatch.chdir(code.ROOT)
    settings = plan.settings_of(["paper"])
    total = Counter()
    for source in settings.sources:
        for target in settings.targets:
            for work in plan.pair_of(settings, source, target).work.values():
                total.update(vars(work))
    assert total["runs"] == 8262
    assert total["done"] == 0
    sizes = [(n, 10) for n in (100, 200, 400, 800, 1600, 3200, 6400)] + [(12800, 5), (25600, 5)]
    train = {"cifar100": 50000, "cifar10": 50000, "svhn": 73257, "fmnist": 60000, "kmnist": 60000, "mnist": 60000}
    test = {name: 26032 if name == "svhn" else 10000 for name in train}
    trained = tested = 0
    for name, whole in train.items():
        for n, seeds in [*sizes, (whole, 1)]:
            epochs, every = (100, 20) if n < 3200 else (150, 10)
            trained += 17 * n * seeds * epochs  # four sources at four numbers of blocks, and random initialisation
            tested += 17 * test[name] * seeds * len({*range(0, epochs, every), epochs - 1})
    assert total["trained"] == trained
    assert total["tested"] == tested


def test_a_plan_is_of_profiles_of_a_file_or_of_params_yaml(tmp_path, monkeypatch):
    monkeypatch.chdir(code.ROOT)
    both = plan.settings_of(["embedded-utrera", "embedded-shafahi"])
    assert both == plan.settings_of(["embedded-full"]) == plan.settings_of(["profiles/embedded-full.yaml"])
    assert plan.settings_of([]) == plan.settings_of(["default"])
    path = tmp_path / "mine.yaml"
    path.write_text((code.ROOT / "params.yaml").read_text().replace("epochs: 16", "epochs: 7"))
    assert plan.settings_of([str(path)]).finetune.epochs == {1: 7}
    with pytest.raises(RunError, match=r"'papr' is no profile .*did you mean 'paper'"):
        plan.settings_of(["papr"])


def test_seconds_are_the_sum_of_their_parts():
    rates = costs.Rates(1.0, 0.1, 0.01, 0.001, 0.0001)
    assert costs.Work(batches=2, steps=3, trained=4, tested=5, frozen=6).seconds(rates) == pytest.approx(2 + 0.3 + 0.04 + 0.005 + 0.0006)


@pytest.mark.parametrize("blocks", [0, "all"])
def test_whole_images_are_cut_where_their_cost_is_measured(workspace, monkeypatch, blocks):
    workspace.edit(
        "params.yaml", blocks=[blocks], upscale__store={"digits": "whole", "others": "native"}, finetune__frozen_batchnorm="batch"
    )
    settings, cut = registry.load_params(), []
    (kind,) = plan.pair_of(settings, "natural", "digits").lacking
    assert (kind.whole, kind.image_size) == (True, 16)
    monkeypatch.setattr(measuring, "SECONDS", 0.0)
    monkeypatch.setattr(Whole, "_cut", lambda x, rows, *how, real=Whole._cut: cut.append(len(rows)) or real(x, rows, *how))
    rates = measuring._measure(kind)
    assert sum(cut) > measuring.FEW
    assert rates.per_step + rates.per_image > 0
    workspace.edit("params.yaml", upscale__store="native")
    (kind,) = plan.pair_of(registry.load_params(), "natural", "digits").lacking
    assert not kind.whole


def test_a_line_is_measured_from_its_start_and_its_slope(monkeypatch):
    monkeypatch.setattr(measuring, "_seconds", lambda run, more: 2.0 + 0.25 * more)
    assert measuring.line(lambda more: None) == (pytest.approx(0.25), 2.0)


def test_a_folder_that_was_not_read_yet_says_what_is_missing(workspace):
    entry = {"kind": "folder", "path": "/nowhere"}
    catalog = loaded((workspace.folder / "data/catalog.yaml").read_text()) | {"mine": entry}
    (workspace.folder / "data/catalog.yaml").write_text(dumped(catalog))
    workspace.edit("params.yaml", datasets=["glyphs", "mine"], targets=["mine"])
    with pytest.raises(RunError, match=r"^data/catalog\.yaml: mine does not say how many images it has"):
        plan.main([])


def test_sizes_and_times_read_well():
    assert [plan.duration(s) for s in (3, 119, 600, 7199, 7200, 4e6)] == ["3 s", "119 s", "10.0 min", "120.0 min", "2.0 h", "1,111.1 h"]
    assert [plan.size_of(n) for n in (1e6, 2.5e9)] == ["1.0 MB", "2.5 GB"]
