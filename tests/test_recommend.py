"""A folder becomes an answer, with real sources and real fine-tuning; killed in the middle, the same command goes on."""

import json
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image
from repository import Repository, current
from sklearn import datasets

from stages import recommend
from stages.lib.errors import RunError
from stages.lib.store import files
from stages.recommending.computing import attacks, candidates
from stages.recommending.deciding import halving
from stages.recommending.recommendation import Asked

CLASSES, EACH, LABELS = ("0", "1", "7"), 20, 12
STORED = ".cells/finetune"


def folder_of_scans(root: Path) -> Path:
    """Real scans of three digits, as files."""
    scans = datasets.load_digits()
    for name in CLASSES:
        (root / name).mkdir(parents=True)
        for i, scan in enumerate(scans.images[scans.target == int(name)][:EACH]):
            Image.fromarray((scan * 15.9).astype(np.uint8)).save(root / name / f"{i}.png")
    return root


def asked(folder: Path, **changes: object) -> Asked:
    usual = {"labels": LABELS, "minutes": 60.0, "sources": ["natural", "l2_eps0_5"], "aim": "accuracy", "eps_255": 4.0, "most": 3000}
    return Asked(**{"folder": folder, "name": "", **usual, **changes})


def shortened(patch: pytest.MonkeyPatch) -> None:
    """One round of five draws, of the head alone and with a block; the real ones take minutes."""
    patch.setattr(halving, "ROUNDS", (1, 5))
    patch.setattr(halving, "PARTS", (0.9, 0.9))
    patch.setattr(candidates, "NUMBERS_OF_BLOCKS", (0, 1))
    patch.setattr(candidates.Candidate, "blocks", property(lambda self: [0, 1]))


def stored(folder: Path) -> dict[str, int]:
    """When each run in the store was written."""
    return {path.name: path.stat().st_mtime_ns for path in (folder / STORED).rglob("*.json")}


@pytest.fixture(scope="module")
def answered(trained, tmp_path_factory) -> tuple[Path, dict[str, int]]:
    """A project in which a recommendation was killed and begun again, and what the store held after the kill."""
    project = tmp_path_factory.mktemp("recommended") / "project"
    shutil.copytree(trained, project)
    scans = folder_of_scans(project.parent / "Scanned digits")
    command = [sys.executable, "-m", "stages.recommend", str(scans), "--labels", str(LABELS), "--sources", "natural", "l2_eps0_5"]
    with open(project.parent / "log", "w") as log:
        killed = psutil.Popen(command, cwd=project, env=Repository(project).environment, stdout=log, stderr=log)
    while killed.poll() is None and not stored(project):
        time.sleep(0.02)
    workers = killed.children(recursive=True)
    killed.kill()
    killed.wait()
    psutil.wait_procs(workers, 30)
    before = stored(project)
    patch = pytest.MonkeyPatch()
    shortened(patch)
    with current(project):
        recommend.main(asked(scans), "")
    patch.undo()
    return project, before


def test_an_answer_with_a_ranking_a_final_figure_and_a_model(answered):
    out = answered[0] / "recommend/scanned_digits"
    answer = json.loads((out / "answer.json").read_text())
    assert {(row["source"], row["blocks"]) for row in answer["ranking"]} == {(s, b) for s in ("natural", "l2_eps0_5") for b in "01"}
    assert answer["ranking"][0]["n"] == 5
    assert answer["final"]["low"] < answer["final"]["mean"] <= answer["final"]["high"]
    assert answer["counts"] == {"used": 60, "found": 60, "deciding": 42, "tested": 20, "final": 18}
    assert answer["seconds"] < 3600
    assert (out / "model/weights.safetensors").is_file()
    assert np.sum(answer["confusion"]) == answer["final"]["n"]
    assert (out / "index.html").read_text().count("natural")
    assert answer["sentence"] in " ".join((out / "answer.txt").read_text().split())


def test_after_a_kill_no_run_is_computed_again(answered):
    project, before = answered
    after = stored(project)
    assert before
    assert len(after) > len(before)
    assert {name: after[name] for name in before} == before


def test_what_was_put_aside_no_run_has_learnt_from(answered):
    """The images of the final figure are none of those that decide: the set's training images are the latter alone."""
    images = answered[0] / "recommend/scanned_digits/work/images"
    sums = {split: {path.resolve() for path in (images / split).rglob("*.png")} for split in ("train", "test")}
    assert (len(sums["train"]), len(sums["test"])) == (42, 18)
    assert not sums["train"] & sums["test"]


def test_under_attack_runs_decide_by_what_stands(answered, monkeypatch):
    project, _ = answered
    shortened(monkeypatch)
    monkeypatch.setattr(halving, "ROUNDS", (1,))
    monkeypatch.setattr(halving, "PARTS", (0.9,))
    monkeypatch.setattr(attacks, "ATTACK", attacks.ATTACK | {"steps": 4, "targets": 1})
    with current(project):
        recommend.main(asked(project.parent / "Scanned digits", aim="robustness", sources=["l2_eps0_5"], name="robust"), "")
    answer = json.loads((project / "recommend/robust/answer.json").read_text())
    assert "under attack" in answer["measures"]["mean"]
    assert all(row["mean"] is not None for row in answer["ranking"])
    standing = [files.read_arrays(path) for path in (project / ".cells/robustness").rglob("*.safetensors")]
    of_deciding = [of_run for of_run in standing if len(of_run["tested"]) == answer["counts"]["deciding"]]
    assert len(of_deciding) >= len(answer["ranking"])
    assert all((of_run["standing"][0] >= of_run["standing"][-1]).all() for of_run in of_deciding)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"sources": ["no_such_source"]}, "no_such_source"),
        ({"labels": 41}, "--labels is 41; allowed: 3"),
        ({"sources": ["torchvision_resnet18"], "minutes": 0.4}, "torchvision_resnet18: not at hand"),
        ({"minutes": 0.001}, "minutes"),
    ],
)
def test_what_cannot_be_done_is_one_line(answered, changes, says):
    with current(answered[0]), pytest.raises(RunError, match=says) as error:
        recommend.main(asked(answered[0].parent / "Scanned digits", **changes), "")
    assert "\n" not in str(error.value)
