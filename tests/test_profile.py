"""The command that writes params.yaml from profiles, run as a person runs it in a copy of the project."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stages.lib.settings import overlays, params, written

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "profiles"


@pytest.fixture
def project(tmp_path) -> Path:
    for name in ("stages", "profiles"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(ROOT / "params.yaml", tmp_path)
    return tmp_path


def run(project: Path, *arguments: str, ok: bool = True) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(project)}
    command = [sys.executable, "-m", "stages.profile", *arguments]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == ok, done.stderr
    return done


def test_it_writes_the_file_and_says_which_keys_change(project):
    done = run(project, "embedded-utrera", "embedded-shafahi")
    path = project / "params.yaml"
    assert done.stdout == ""
    lines = [" ".join(line.split()) for line in done.stderr.splitlines()]
    assert "params.yaml: blocks 0,1,3 -> [0, 1, 3, 9]" in lines
    assert "params.yaml: draw_subsets.n_seeds {from_25: 10, from_100: 20} -> 12" in lines
    assert "params.yaml: harden.pieces nothing -> 1" in lines
    assert params.read_yaml(path) == overlays.merged(["embedded-full"], FOLDER)
    assert run(project, "--show").stdout == run(project, "--show", "embedded-full").stdout
    assert run(project, "embedded-full").stderr == ""  # the same settings, under another name

    lines = run(project, "default").stderr.splitlines()
    assert path.read_text() == (ROOT / "params.yaml").read_text()
    assert len(lines) == len(done.stderr.splitlines())
    assert run(project, "--show").stdout == "nothing differs\n"


def test_what_differs_is_shown_key_by_key_and_nothing_is_written(project):
    before = (project / "params.yaml").read_text()
    (project / "profiles/mine.yaml").write_text("finetune: {lr: 0.03}\nreport: {utrera2021: {published: {natural: natural}}}\n")
    shown = run(project, "--show", "mine").stdout.splitlines()
    assert [line.split() for line in shown] == [
        ["finetune.lr", "0.05", "->", "0.03"],
        ["report.utrera2021.published.natural", "nothing", "->", "natural"],
    ]
    assert (project / "params.yaml").read_text() == before
    (project / "params.yaml").write_text(before.replace("first_seed: 20000000", "first_seed: 1"))
    assert run(project, "--show").stdout.split() == ["draw_subsets.first_seed", "20000000", "->", "1"]


def test_profiles_are_listed_with_what_they_are_for(project):
    lines = run(project).stdout.splitlines()
    assert [line.split()[0] for line in lines] == overlays.available(FOLDER)
    assert all(len(line.split()) > 5 for line in lines)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["papr"], "error: 'papr' is no profile in profiles/; allowed: "),
        (["--show", "papr"], "error: 'papr' is no profile in profiles/; allowed: "),
        (["paper", "cifar10-one-gpu"], "error: profiles/cifar10-one-gpu.yaml: blocks is 3, and profiles/paper.yaml says [0, 1, 3, 9]"),
        (["misspelt"], "error: profiles/misspelt.yaml: finetune.epoch is no known key; allowed: "),
    ],
)
def test_what_is_wrong_is_one_line_and_params_yaml_stays(project, arguments, line):
    (project / "profiles/misspelt.yaml").write_text("finetune: {epoch: 3}\n")
    before = (project / "params.yaml").read_text()
    done = run(project, *arguments, ok=False)
    assert done.stderr.startswith(line)
    assert len(done.stderr.splitlines()) == 1
    assert (project / "params.yaml").read_text() == before


@pytest.mark.parametrize("content", [None, "blocks: [0\n"])
def test_a_file_that_is_missing_or_cannot_be_read_is_written_anew(project, content):
    path = project / "params.yaml"
    path.unlink() if content is None else path.write_text(content)
    assert run(project, "paper").stderr.splitlines()[0].startswith("params.yaml: ")
    assert path.read_text() == written.text_of(["paper"], FOLDER)
    if content is None:
        path.unlink()
        assert run(project, "--show", ok=False).stderr == "error: params.yaml: the file is missing\n"
