"""What README.md and docs/ say is true: cheap commands run, others are checked, and all that is named exists.

A command is run, or what it names is checked: targets of the Makefile, stages, settings after `-S`, profiles, entries of catalogs.
Neither is possible for `ray start`, which begins a cluster (tests/lib/workers does that).
"""

import re
import shutil
import subprocess
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml
from documents import BLOCKS, PAGES, Block, Page, bare, names_in, words_of
from repository import ROOT, Repository

from stages import check
from stages.lib.networks import architectures
from stages.lib.settings import overlays, params, written
from stages.studies import registry

RUN = (  # in a copy of the repository; all others would compute, install, or need several machines
    r"dvc dag", r"dvc exp show.*", r"dvc metrics show", r"dvc plots show", r"dvc queue status", r"git restore .*", r"make help",
    r"make (profile|profiles|diff)\b.*", r"python -m stages\.profile\b.*",
)  # fmt: skip
COMMANDS = [(place, command) for page in PAGES for place, command in page.commands]
CHEAP = list(dict.fromkeys(bare(command) for _, command in COMMANDS if re.fullmatch("|".join(RUN), bare(command))))
CATALOGS = {"data/catalog.yaml": ("folder", "packaged", "procedural", "published"), "models/catalog.yaml": ("fetched", "random", "trained")}
DVC = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
TRACKED = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
TRACKED += [page.name for page in PAGES]  # a page that is not yet committed
CODE = "\n".join(path.read_text() for path in sorted((ROOT / "stages").rglob("*.py")))
RELATIVE = {"train/<class>/", "val/<class>/", "published/"}  # to a folder of images, and to that of a study
MOST_LINES = {"README.md": 149}


SHOWN = [block for block in BLOCKS if block.language == "yaml"]
DATASETS, SOURCES = (params.read_yaml(ROOT / catalog) for catalog in CATALOGS)
PROFILES = overlays.available(ROOT / "profiles")
SETTINGS = {name: overlays.merged([name], ROOT / "profiles") for name in PROFILES}


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Repository:
    """The repository as it is here, committed, with nothing computed."""
    folder = tmp_path_factory.mktemp("docs") / "tree"
    for name in dict.fromkeys(TRACKED):
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
    """Put the entries that blocks show below those of the catalogs of the current folder; how many there are."""
    shown = {name: entry for block in blocks for name, entry in yaml.safe_load(block.text).items() if "kind" in entry}
    assert {entry["kind"] for entry in shown.values()} <= {kind for kinds in CATALOGS.values() for kind in kinds}
    for catalog, kinds in CATALOGS.items():
        entries = {name: entry for name, entry in shown.items() if entry["kind"] in kinds}
        if entries:
            Path(catalog).write_text(f"{Path(catalog).read_text()}\n{yaml.safe_dump(entries)}")
    return len(shown)


@pytest.mark.parametrize("command", CHEAP)
def test_a_cheap_command_runs(here, command):
    here.run(*words_of(command))


@pytest.mark.parametrize(("place", "command"), COMMANDS, ids=lambda value: value[:60])
def test_a_command_names_what_exists(here, place, command):
    words = words_of(command)
    if bare(command) not in CHEAP and not command.startswith("ray start"):
        checks = {"make": make, "dvc": dvc, "python": python, "pip": pip, "rm": rm, "sbatch": sbatch, "torchrun": torchrun}
        checks[words[0]](words, place)


def make(words: list[str], place: str) -> None:
    subprocess.run(["make", "--dry-run", *words[1:]], cwd=ROOT, capture_output=True, check=True)
    for name, value in (word.split("=") for word in words if "=" in word):
        assert name in ("NAME", "PROFILE")
        assert set(value.split()) <= set(PROFILES)


def dvc(words: list[str], place: str) -> None:
    from dvc.cli import parse_args  # here, as it takes a second to import

    arguments = parse_args(words[1:])
    if words[1:3] == ["exp", "apply"]:
        assert any(f"--name {words[3]}" in other for page in PAGES for _, other in page.commands)
    for target in getattr(arguments, "targets", None) or []:
        stage, _, item = target.partition("@")
        assert stage in DVC
        assert not item or item in DATASETS | SOURCES | registry.EXPERIMENTS | {"mine": {}}
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
    """DVC itself changes the files; then everything can be run."""
    from dvc.utils.hydra import apply_overrides  # here, as it takes a second to import

    Path("params.yaml").write_text(written.text_of(profiles))
    for path, settings in changes.items():
        apply_overrides(path, settings)
    assert check.problems(registry.load_params()) == []


def python(words: list[str], place: str) -> None:
    assert words[1] == "-m"
    assert (ROOT / Path(*words[2].split("."))).with_suffix(".py").is_file()
    if words[2].startswith("stages."):
        assert set(words[3:]) <= set(DATASETS | SOURCES)


def pip(words: list[str], place: str) -> None:
    extra = re.fullmatch(r"pip install -c constraints\.txt -e \.\[(\w+)\]", " ".join(words))
    assert re.search(rf"^{extra[1]} = \[$", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)


def rm(words: list[str], place: str) -> None:
    assert is_generated(words[-1])


def sbatch(words: list[str], place: str) -> None:
    script, *command = [word for word in words[1:] if not word.startswith("--")]
    assert script in TRACKED
    dvc([*command[:-2], *command[-2:]], place)


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


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_block_is_of_a_language_that_is_checked(block):
    assert block.language in ("console", "yaml", "text")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in page.links:
        if not link.startswith(("https://", "http://")):
            name, _, anchor = link.partition("#")
            target = (page.path.parent / name).resolve() if name else page.path
            assert target.exists(), link
            assert not anchor or anchor in Page(target).anchors, link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_in_backticks_exist_or_are_made(page):
    for text in page.in_backticks:
        if re.fullmatch(r"(\.?\w[\w.<>*-]*/)+[\w.<>*-]*", text) and text not in RELATIVE:
            assert exists(text) or is_generated(text), text
        elif re.fullmatch(r"[\w-]+\.(py|yaml|md|csv|json|toml|txt|sh|parquet|npz|lock|db|j2)", text):
            assert {text} & {Path(name).name for name in TRACKED} or f'"{text}"' in CODE or is_generated(text), text


def exists(text: str) -> bool:
    pattern = re.sub(r"<\w+>", "*", text)
    return any(fnmatch(name, pattern) or fnmatch(name, f"{pattern.rstrip('/')}/*") for name in TRACKED)


def is_generated(text: str) -> bool:
    """Git ignores it. A table or a figure of the report has its name in the code, too."""
    path = Path(re.sub(r"<\w+>", "x", text))
    ignored = subprocess.run(["git", "check-ignore", path, path / "x"], cwd=ROOT, capture_output=True, check=False).returncode == 0
    return ignored and (path.suffix != ".csv" or f'"{path.stem}":' in CODE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_settings_in_backticks_are_keys_of_a_profile(page):
    sections = {section for settings in SETTINGS.values() for section in settings}
    for text in page.in_backticks:
        key = re.fullmatch(r"(\w+(?:\.\w+)+)(?:: .+)?", text)
        if key and key[1].split(".")[0] in sections and not key[1].endswith((".py", ".yaml")):
            assert any(has(settings, key[1].split(".")) for settings in SETTINGS.values()), text


def has(settings: object, keys: list[str]) -> bool:
    return not keys or (isinstance(settings, dict) and keys[0] in settings and has(settings[keys[0]], keys[1:]))


def rows(head: str) -> list[list[str]]:
    """Of all tables whose first column has this head."""
    return [row for page in PAGES for table in page.tables if table[0][0] == head for row in table[1:]]


def test_tables_name_every_profile_stage_experiment_and_architecture_and_no_other():
    known = {"profile": PROFILES, "stage": DVC, "experiment": registry.EXPERIMENTS, "architecture": architectures.BLOCKS}
    for head, names in known.items():
        assert {name for row in rows(head) for name in names_in(row[0])} == set(names), head


def test_architectures_have_as_many_blocks_as_is_said():
    for row in rows("architecture"):
        assert {architectures.BLOCKS[name] for name in names_in(row[0])} == {int(row[-1])}


def test_tables_of_entries_name_all_of_both_catalogs():
    patterns = [re.sub(r"<\w+>", "*", name) for row in rows("entries") for name in names_in(row[0])]
    assert {name for name in DATASETS | SOURCES if not any(fnmatch(name, pattern) for pattern in patterns)} == set()
    assert {pattern for pattern in patterns if not any(fnmatch(name, pattern) for name in DATASETS | SOURCES)} == set()


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "text"], ids=str)
def test_the_tree_of_the_house_is_the_one_on_disk(block):
    above, shown = {}, set()
    for line in block.text.splitlines():
        indent, name = re.match(r"( *)(\S+)", line).groups()
        above = {depth: folder for depth, folder in above.items() if depth < len(indent)} | {len(indent): name}
        shown.add("".join(above[depth] for depth in sorted(above)))
    assert {name for name in shown if not (ROOT / name).exists()} == set()
    rooms = {f"{path.parent.relative_to(ROOT).as_posix()}/" for path in (ROOT / "stages").rglob("__init__.py")}
    assert rooms <= shown


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_are_short(page):
    assert page.text.count("\n") <= MOST_LINES.get(page.name, 199)
