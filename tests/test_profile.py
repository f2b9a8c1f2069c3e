"""The command that writes params.yaml from profiles: what it writes, shows and refuses, and once as a person runs it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stages import profile
from stages.lib.errors import RunError
from stages.lib.settings import overlays, params, written

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "profiles"


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    shutil.copytree(FOLDER, tmp_path / "profiles")
    shutil.copy2(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(project, capsys) -> Callable[..., tuple[str, str]]:
    """The command in this process: what it prints, and what it says beside that."""

    def in_this_process(*names: str, show: bool = False) -> tuple[str, str]:
        profile.main(list(names), show)
        return capsys.readouterr()

    return in_this_process


def command(*arguments: str) -> subprocess.CompletedProcess:
    run = [sys.executable, "-m", "stages.profile", *arguments]
    return subprocess.run(run, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)


def test_it_writes_the_file_and_says_which_keys_change(project, run):
    done = command("embedded-utrera", "embedded-shafahi")
    path = project / "params.yaml"
    assert (done.returncode, done.stdout) == (0, "")
    lines = [" ".join(line.split()) for line in done.stderr.splitlines()]
    assert "params.yaml: blocks 0,1,3 -> [0, 1, 3, 9]" in lines
    assert "params.yaml: draw_subsets.n_seeds {from_25: 8, from_100: 14} -> 8" in lines
    assert "params.yaml: harden.pieces nothing -> 1" in lines
    assert params.read_yaml(path) == overlays.merged(["embedded-full"], FOLDER)
    assert run(show=True).out == run("embedded-full", show=True).out == command("--show").stdout
    assert run("embedded-full").err == ""  # the same settings, under another name

    lines = run("default").err.splitlines()
    assert path.read_text() == (ROOT / "params.yaml").read_text()
    assert len(lines) == len(done.stderr.splitlines())
    assert run(show=True).out == "nothing differs\n"


def test_what_differs_is_shown_key_by_key_and_nothing_is_written(project, run):
    before = (project / "params.yaml").read_text()
    (project / "profiles/mine.yaml").write_text(
        "profiles: [default]\nfinetune: {lr: 0.03}\nreport: {utrera2021: {published: {natural: natural}}}\n"
    )
    shown = run("mine", show=True).out.splitlines()
    assert [line.split() for line in shown] == [
        ["finetune.lr", "0.05", "->", "0.03"],
        ["report.utrera2021.published.natural", "nothing", "->", "natural"],
    ]
    assert (project / "params.yaml").read_text() == before
    (project / "params.yaml").write_text(before.replace("first_seed: 20000000", "first_seed: 1"))
    assert run(show=True).out.split() == ["draw_subsets.first_seed", "20000000", "->", "1"]


def test_profiles_are_listed_with_what_they_are_for(run):
    lines = run().out.splitlines()
    assert [line.split()[0] for line in lines] == overlays.available(FOLDER)
    assert all(len(line.split()) > 5 for line in lines)


@pytest.mark.parametrize(
    ("names", "show", "line"),
    [
        (["papr"], False, "'papr' is no profile in profiles/; allowed: "),
        (["papr"], True, "'papr' is no profile in profiles/; allowed: "),
        (["paper", "cifar10-one-gpu"], False, "profiles/cifar10-one-gpu.yaml: blocks is 3, and profiles/paper.yaml says [0, 1, 3, 9]"),
        (["misspelt"], False, "profiles/misspelt.yaml: finetune.epoch is no known key; allowed: "),
    ],
)
def test_what_is_wrong_is_one_line_and_params_yaml_stays(project, run, names, show, line):
    (project / "profiles/misspelt.yaml").write_text("finetune: {epoch: 3}\n")
    before = (project / "params.yaml").read_text()
    with pytest.raises(RunError) as error:
        run(*names, show=show)
    assert str(error.value).startswith(line)
    assert "\n" not in str(error.value)
    assert (project / "params.yaml").read_text() == before


@pytest.mark.parametrize("content", [None, "blocks: [0\n"])
def test_a_file_that_is_missing_or_cannot_be_read_is_written_anew(project, run, content):
    path = project / "params.yaml"
    path.unlink() if content is None else path.write_text(content)
    assert run("paper").err.splitlines()[0].startswith("params.yaml: ")
    assert path.read_text() == written.text_of(["paper"], FOLDER)
    if content is None:
        path.unlink()
        done = command("--show")
        assert (done.returncode, done.stderr) == (1, "error: params.yaml: the file is missing\n")
