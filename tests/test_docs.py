"""The commands and the YAML of README.md and docs/ hold: what is cheap runs, and of all else it is checked that it can run.

A command is run, or what it names is checked: targets of the Makefile, stages, settings after `-S`, profiles, entries of catalogs.
Neither is possible for `ray start`, which begins a cluster (tests/lib/workers does that).
"""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from documents import BLOCKS, DATASETS, PAGES, PROFILES, SOURCES, STAGES, TRACKED, Block, bare, is_generated, words_of
from repository import ROOT, Repository

from stages import check
from stages.lib.settings import written
from stages.studies import registry

RUN = (  # in a copy of the repository; all others would compute, install, or need several machines
    r"dvc dag\b.*", r"dvc exp show.*", r"dvc (metrics|params) (show|diff)", r"dvc plots show", r"dvc queue status", r"git restore .*", r"make help",
    r"make (profiles|diff)\b.*", r"make profile( NAME=default| '.*)?", r"python -m stages\.profile\b.*",
)  # fmt: skip
"""Of `make profile`, one profile and two together: that each can be written and run, tests/lib/settings holds."""
COMMANDS = [(place, command) for page in PAGES for place, command in page.commands]
CHEAP = list(dict.fromkeys(bare(command) for _, command in COMMANDS if re.fullmatch("|".join(RUN), bare(command))))
CATALOGS = {
    "data/catalog.yaml": ("folder", "packaged", "photographs", "procedural", "published"),
    "models/catalog.yaml": ("fetched", "random", "timm", "trained"),
}
SHOWN = [block for block in BLOCKS if block.language == "yaml"]
ITEMS = {*DATASETS, *SOURCES, *registry.EXPERIMENTS, *(name for block in SHOWN for name in yaml.safe_load(block.text))}  # after `@`


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Repository:
    """The repository as it is here, committed, with nothing computed."""
    folder = tmp_path_factory.mktemp("docs") / "tree"
    for name in TRACKED:
        if (ROOT / name).is_file() and not name.startswith("tests/"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    (folder / ".venv").mkdir()
    (folder / ".venv/ready").touch()  # so that make installs nothing
    repository = Repository(folder)
    repository.run("git", "init", "-q", "-b", "main")
    repository.commit("as it is")
    return repository


@pytest.fixture
def here(tree, monkeypatch):
    """The tree as the current folder, as long as one test changes it."""
    monkeypatch.chdir(tree.folder)
    yield tree
    tree.run("git", "restore", ".")
    (tree.folder / "profiles/shown.yaml").unlink(missing_ok=True)


def add_entries(blocks: list[Block]) -> int:
    """Put the entries that blocks show below those of the catalogs of the current folder, or in their place; how many there are."""
    shown = {name: entry for block in blocks for name, entry in yaml.safe_load(block.text).items() if "kind" in entry}
    assert {entry["kind"] for entry in shown.values()} <= {kind for kinds in CATALOGS.values() for kind in kinds}
    for catalog, kinds in CATALOGS.items():
        entries = {name: entry for name, entry in shown.items() if entry["kind"] in kinds}
        if entries:
            others = re.sub(rf"^({'|'.join(entries)}):.*\n([ #].*\n)*", "", Path(catalog).read_text(), flags=re.MULTILINE)
            Path(catalog).write_text(f"{others}\n{yaml.safe_dump(entries)}")
    return len(shown)


@pytest.mark.parametrize("command", CHEAP)
def test_a_cheap_command_runs(here, command):
    here.run(*words_of(command))


@pytest.mark.parametrize(("place", "command"), COMMANDS, ids=lambda value: value[:60])
def test_a_command_names_what_exists(here, place, command):
    words = words_of(command)
    if bare(command) not in CHEAP and not command.startswith("ray start"):
        checks = {
            "make": make,
            "dvc": dvc,
            "git": git,
            "gto": gto,
            "mlflow": mlflow,
            "python": python,
            "pip": pip,
            "rm": rm,
            "sbatch": sbatch,
            "torchrun": torchrun,
        }
        checks[words[0]](words, place)


def make(words: list[str], place: str) -> None:
    subprocess.run(["make", "--dry-run", *words[1:]], cwd=ROOT, capture_output=True, check=True)
    for name, value in (word.split("=") for word in words if "=" in word):
        assert f"$({name})" in (ROOT / "Makefile").read_text()
        if name in ALLOWED:
            assert set(value.split()) <= set(ALLOWED[name])
        else:
            assert name in ("IMAGES", "PYTHON", "REGISTER") or value.isdecimal()


ALLOWED = {"NAME": PROFILES, "PROFILE": PROFILES, "SOURCES": SOURCES, "FOR": ("accuracy", "robustness")}  # values of what `make` is given


def dvc(words: list[str], place: str) -> None:
    from dvc.cli import parse_args  # here, as it takes a second to import

    arguments = parse_args(words[1:])
    if words[1:3] in (["exp", "apply"], ["exp", "push"]):
        assert any(f"--name {words[-1]}" in other for page in PAGES for _, other in page.commands)
    for target in getattr(arguments, "targets", None) or []:
        stage, _, item = target.partition("@")
        assert stage in STAGES or (words[1] == "add" and is_generated(stage))
        assert not item or item in ITEMS
    if words[1:3] == ["exp", "run"]:
        add_entries(SHOWN)
        for experiment in overrides(arguments.set_param):
            settings_hold_with(experiment, profiles_before(place, words))


def overrides(settings: list[str]) -> list[dict[str, list[str]]]:
    """What `-S` changes, by file; several for a sweep."""
    from dvc.utils.cli_parse import to_path_overrides
    from dvc.utils.hydra import get_hydra_sweeps  # here, as they take a second to import

    return get_hydra_sweeps(to_path_overrides(settings))


def profiles_before(place: str, words: list[str]) -> list[str]:
    """Those that an earlier command of the same block has written params.yaml from."""
    names = []
    for block in BLOCKS:
        for command in block.commands if str(block) == place else ():
            if words_of(command) == words:
                return names
            if words_of(command)[:2] == ["make", "profile"]:
                names = words_of(command)[2].removeprefix("NAME=").split()
    return names


def settings_hold_with(changes: dict[str, list[str]], profiles: list[str]) -> None:
    """STAGES itself changes the files; then everything can be run."""
    from dvc.utils.hydra import apply_overrides  # here, as it takes a second to import

    Path("params.yaml").write_text(written.text_of(profiles))
    for path, settings in changes.items():
        apply_overrides(path, settings)
    assert check.problems(registry.load_params()) == []


def python(words: list[str], place: str) -> None:
    assert words[1] == "-m"
    assert (ROOT / Path(*words[2].split("."))).with_suffix(".py").is_file()
    if words[2] == "stages.recommend":
        assert all(f'"{word}"' in (ROOT / "stages/recommend.py").read_text() for word in words[3:] if word.startswith("-"))
    elif words[2].startswith("stages.") and not any(map(is_generated, words[3:4])):
        assert set(words[3:4] if words[2] == "stages.predict" else words[3:]) <= set(DATASETS | SOURCES)


def git(words: list[str], place: str) -> None:
    assert words[1] == "push"
    for tag in words[3:]:
        gto(["gto", "register", tag.partition("@")[0]], place)


def gto(words: list[str], place: str) -> None:
    assert words[1] == "register"
    assert words[2] in yaml.safe_load((ROOT / "dvc.yaml").read_text())["artifacts"]


def mlflow(words: list[str], place: str) -> None:
    assert words[1:3] == ["models", "serve"]


def pip(words: list[str], place: str) -> None:
    extra = re.fullmatch(r"pip install -c constraints\.txt -e \.\[(\w+)\]", " ".join(words))
    assert re.search(rf"^{extra[1]} = \[$", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)


def rm(words: list[str], place: str) -> None:
    assert is_generated(words[-1])


def sbatch(words: list[str], place: str) -> None:
    script, *command = [word for word in words[1:] if not word.startswith("--")]
    assert script in TRACKED
    dvc(command, place)


def torchrun(words: list[str], place: str) -> None:
    python(["python", *words[words.index("-m") :]], place)


@pytest.mark.parametrize("block", SHOWN, ids=str)
def test_yaml_is_of_a_catalog_or_differs_from_the_default_as_a_profile_may(here, block):
    names = []
    if not add_entries([block]):
        Path("profiles/shown.yaml").write_text(block.text)
        names = ["shown"]
    Path("params.yaml").write_text(written.text_of(names))
    assert check.problems(registry.load_params()) == []
