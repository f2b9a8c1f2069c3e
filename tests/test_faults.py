"""A table of faults: what each kind of work, each setting and each state says when something is wrong with it, in one line."""

import datetime
import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import inprocess
import kinds
import numpy as np
import pytest
import yaml

from stages import check, track
from stages.lib.datasets import subsets
from stages.lib.errors import RunError
from stages.lib.runs import missing
from stages.lib.store import address, cells, files, journal, tracking, verified
from stages.studies import registry


def flip(path: Path, place: int = -1) -> None:
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def one_line(error: pytest.ExceptionInfo) -> str:
    line = str(error.value)
    assert "\n" not in line
    return line


# Results: an input that is not the one of the key


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """The images and the source of the tests' kinds of work, with the features that later kinds read."""
    folder = tmp_path_factory.mktemp("noise")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("DVC_ROOT", str(folder))
        kinds.prepare(folder)
        kinds.features().compute()
        kinds.class_means().compute()
        yield folder


WEIGHTS, TRAIN, TEST = "models/sources/src/0.safetensors", "data/images/noise/train_x.npy", "data/images/noise/test_y.npy"
READS = {
    "source": [TRAIN],
    "activations": [WEIGHTS, TRAIN],
    "finetune": [WEIGHTS, TRAIN, TEST],
    "attack": [WEIGHTS, TEST],
    "checks": [WEIGHTS, TRAIN, TEST],
    "features": [WEIGHTS, TRAIN],
    "retrain": [WEIGHTS, TRAIN, TEST],
    "train_heads": [WEIGHTS, TRAIN, TEST],
    "harden": [WEIGHTS, TRAIN, TEST],
    "learn_without_forgetting": [WEIGHTS, TRAIN, TEST],
    "detect": [WEIGHTS, "data/images/things/train_x.npy", "data/images/things/test_y.npy"],
    "finetune_timm": ["models/sources/timm/0.safetensors", TRAIN, TEST],
    "information": [WEIGHTS, TRAIN],
    "influence": [WEIGHTS, TRAIN, TEST],
    "shape_bias": [WEIGHTS, TRAIN, "data/images/clash/test_x.npy"],
    "texture_attack": [WEIGHTS, TEST],
    "texture_dial": [WEIGHTS, TRAIN, TEST],
    "class_means": [WEIGHTS, TRAIN],
    "measure_distance": [WEIGHTS, TRAIN],
    "visualise": [WEIGHTS, TEST],
    "invert": [WEIGHTS, TEST],
}


def test_the_table_of_inputs_names_every_kind_of_work():
    assert set(READS) == set(kinds.KINDS)


@pytest.mark.parametrize(("kind", "damaged"), [(kind, path) for kind, paths in READS.items() for path in paths])
def test_an_input_with_one_wrong_bit_is_named_and_no_cell_is_written(kind, damaged, noise):
    work, path = kinds.KINDS[kind][1](), noise / damaged
    key, before = work.key(), sorted((noise / ".cells").rglob("*"))
    flip(path)
    try:
        with pytest.raises(RunError) as error:
            work.compute()
    finally:
        flip(path)
    line = one_line(error)
    assert (damaged if damaged.endswith(".safetensors") else str(Path(damaged).parent)) in line
    assert "dvc repro" in line
    written = set((noise / ".cells").rglob("*.json")) - set(before)
    assert not [path for path in written if key in path.name]


@pytest.mark.parametrize("damage", [lambda path: flip(path, 200), lambda path: path.write_bytes(path.read_bytes()[:99]), Path.unlink])
def test_subsets_that_are_missing_or_damaged_are_one_line(damage, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    subsets.save("noise", {"20_1": np.arange(20)})
    damage(subsets.path_of("noise"))
    with pytest.raises(RunError, match=r"^data/subsets/noise\.npz: .*run `dvc repro draw_subsets@noise`") as error:
        subsets.load("noise")
    one_line(error)


def test_whichever_bit_of_subsets_is_wrong_they_are_those_that_were_drawn_or_none(tmp_path, monkeypatch):
    """A bit of the archive's directory may hide a subset; of a date, it changes nothing."""
    monkeypatch.chdir(tmp_path)
    drawn = {f"{n}_{seed}": np.arange(n) for n, seed in ((1, 1), (2, 1))}
    subsets.save("noise", drawn)
    path, refused = subsets.path_of("noise"), 0
    whole = path.read_bytes()
    for place in range(8 * len(whole)):
        content = bytearray(whole)
        content[place // 8] ^= 1 << place % 8
        path.write_bytes(content)
        try:
            found = subsets.load("noise")
        except RunError:
            refused += 1
        else:
            assert found.keys() == drawn.keys()
            assert all(np.array_equal(found[name], drawn[name]) for name in drawn)
    assert refused > 4 * len(whole)


def test_failures_are_told_by_cause_and_all_of_them_stand_in_a_file(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    runs = [f"run {i}" for i in range(500)]
    outcomes = [(run, RunError("no memory" if run == "run 7" else "no weights")) for run in reversed(runs)]
    with pytest.raises(RunError) as error:
        missing.follow("finetune@natural", 600, runs, outcomes, unit="run", ended=lambda run: None)
    whole = tmp_path / ".runs/finetune@natural.failed.txt"
    assert one_line(error) == (
        "finetune@natural: 500 of 600 runs failed; the others are kept. run 0; run 1; run 2; and 496 more: no weights; "
        f"run 7: no memory; all of them: {whole}"
    )
    assert whole.read_text().splitlines() == [f"{run}: {'no memory' if run == 'run 7' else 'no weights'}" for run in runs]


def test_a_state_that_cannot_be_written_is_one_line(tmp_path, monkeypatch):
    """A file in the place of a folder: unlike a read-only folder, it stops root, too."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    for name in (".cells", ".runs"):
        (tmp_path / name).touch()
    attempts = {
        ".cells": lambda: cells.save("finetune", "ab" * 32, {}),
        ".runs": lambda: journal.Journal("finetune", "finetune"),
        ".cells/lock": lambda: files.locked(tmp_path / ".cells/lock", "it").__enter__(),
    }
    for name, attempt in attempts.items():
        with pytest.raises(RunError, match=f"{name}.*cannot be written") as error:
            attempt()
        one_line(error)
    done = []
    with pytest.raises(RunError, match=r"\.cells/robustness: cannot be written: Not a directory; allowed: a folder that can be") as error:
        missing.compute("it", "robustness", {"ab": 1}, done.append, settings=None, preload=[], unit="attack")
    one_line(error)
    assert not done, "nothing is computed that would be lost"
    path = tmp_path / "a"
    path.write_bytes(b"content")
    assert verified.sha256_of(path) == files.sha256_of(path), "read all the same where nothing can be remembered"


# Settings: numbers beyond what computes, names, what is not YAML of settings

ALIASES = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in pairwise("abcdefghijkl")
)
SETTINGS = [
    ("track.experiment", datetime.date(2020, 1, 1), None),
    ("blocks", datetime.date(2020, 1, 1), "blocks is '2020-01-01'; allowed: "),
    ("draw_subsets.first_seed", 2**40, "draw_subsets.first_seed is 1099511627776; allowed: less than or equal to 4294967295"),
    ("draw_subsets.first_seed", 2**32 - 1, "draw_subsets: the last seed is 4296867295; allowed: first_seed, seed_step and n_seeds"),
    ("draw_subsets.seed_step", 10**10, "draw_subsets.seed_step is 10000000000; allowed: less than or equal to"),
    ("draw_subsets.n_seeds", 10**8, "draw_subsets.n_seeds is 100000000; allowed: less than or equal to 10000"),
    ("upscale.image_size", 10**9, "upscale.image_size is 1000000000; allowed: less than or equal to 2048"),
    ("grid.workers", 10000, "grid.workers is 10000; allowed: less than or equal to 1024"),
    ("track", 5, "track is 5; allowed: keys with values"),
    ("source.schedule", {"warmup": 0.2}, "source.schedule is {'warmup': 0.2}; allowed: keys with values, of which 'kind' says what it is"),
    ("source.schedule", {"kind": "a"}, "source.schedule is {'kind': 'a'}; allowed: as its kind: 'one_cycle', 'stepwise', 'piecewise'"),
    ("targets", "a" * 300, "and so on; allowed: String should have at most 64 characters"),
    ("targets", "../digits", "targets is '../digits'; allowed: "),
    ("targets", "a@b", "targets is 'a@b'; allowed: "),
    ("targets", "a.b", "targets is 'a.b'; allowed: "),
    ("datasets", ["glyphs", "digits", "textures", "Digits"], "datasets: 'Digits' and 'digits' differ in capitals alone"),
]
FILES = {
    "": "params.yaml: is empty; allowed: keys with values",
    "# nothing": "params.yaml: is empty; allowed: keys with values",
    "- 1": "params.yaml: holds a list; allowed: keys with values",
    ALIASES: "params.yaml: not YAML: its aliases make more than 100000 values",
    "a: &a [*a]": "params.yaml: not YAML: its aliases make more than 100000 values",
    f"a: {'[' * 3000}{']' * 3000}": "params.yaml: not YAML of settings: values stand too deep within one another",
}


@pytest.fixture
def settings(tmp_path, monkeypatch) -> dict:
    """Those that every profile begins with, in a folder that has the repository's catalogs."""
    inprocess.settings_only(tmp_path, {})
    monkeypatch.chdir(tmp_path)
    return yaml.safe_load((inprocess.ROOT / "profiles/base.yaml").read_text())


def refused() -> str | None:
    """The line with which `check` refuses params.yaml; None where it does not."""
    try:
        wrong = check.problems(registry.load_params())
    except RunError as error:
        wrong = [str(error)]
    assert "\n" not in "".join(wrong)
    return "; ".join(wrong) or None


@pytest.mark.parametrize(("key", "value", "said"), SETTINGS)
def test_a_setting_that_cannot_be_run_is_named_with_what_is_allowed(key, value, said, settings):
    section, _, name = key.partition(".")
    settings[section] = settings[section] | {name: value} if name else value
    Path("params.yaml").write_text(yaml.safe_dump(settings))
    line = refused()
    assert line is None if said is None else said in line


@pytest.mark.parametrize("content", FILES, ids=range(len(FILES)))
def test_a_file_without_settings_says_so_at_once(content, settings):
    Path("params.yaml").write_text(content)
    assert refused().startswith(FILES[content])


def test_a_threat_beyond_the_range_of_pixels_is_refused(settings):
    catalog = Path("models/catalog.yaml")
    catalog.write_text(catalog.read_text().replace("eps: 0.5", "eps: 1000.0"))
    Path("params.yaml").write_text(yaml.safe_dump(settings))
    assert "models/catalog.yaml: l2_eps0_5.threat.eps is 1000, beyond the range of pixels; allowed: 0 to 55.43" in refused()


# States: a tracking store that cannot be used, and journals that cannot be read


def database(path: Path, state: str) -> str:
    """The address of a store in that state."""
    if state == "folder":
        path.mkdir()
    elif state == "damaged":
        path.write_bytes(b"SQLite format 3\0" + bytes(5000))
    elif state == "without its driver":
        return "postgresql+nodriver://me:hidden@localhost/store"
    return f"sqlite:///{path}"


@pytest.mark.parametrize("state", ["folder", "damaged", "locked", "without its driver", "away"])
def test_a_store_that_cannot_be_used_is_one_warning_without_the_password(state, workspace, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(address, "LOCKED_S", 0.1)
    path = workspace.folder / "store.db"
    uri = "http://me:hidden@127.0.0.1:9" if state == "away" else database(path, state)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with closing(sqlite3.connect(path if state == "locked" else ":memory:", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with journal.execution("check", settings={}, inputs=[], outputs=[]) as record:
            pass
        track.main()
        track.follow(record.path)
    said = capsys.readouterr().err
    assert "the tracking store is away" in said
    assert "1 journals" in said
    assert "hidden" not in said
    assert len(said.splitlines()) == 3, said  # no report yet, the warning, that of the follower


@pytest.mark.parametrize(("text", "shown"), [
    ("http://me:secret@host/a", "http://***@host/a"), ("postgresql://me:s:e@host", "postgresql://***@host"),
    ("no address\nat all", "no address at all"), ("mssql://host/a?password=secret&b=1", "mssql://host/a?password=***&b=1"),
])  # fmt: skip
def test_passwords_are_masked(text, shown):
    assert address.masked(text) == shown


def test_what_cannot_be_read_is_set_aside_and_the_others_are_sent(workspace, empty_store, capsys):
    shutil.copy(empty_store, workspace.folder)
    for _ in range(2):
        with journal.execution("check", settings={}, inputs=[], outputs=[]):
            pass
    first, second = tracking.pending()
    first.write_bytes(b'{"event": "sta\0\0\0\n')
    experiment = journal.folder() / "experiments/cut/experiment.json"
    experiment.parent.mkdir(parents=True)
    experiment.write_text('{"name": "cu')
    track.main()
    said = capsys.readouterr().err
    assert f"{first}: damaged, and not sent" in said
    assert f"{experiment.parent}: damaged, and not sent" in said
    assert (journal.folder() / "damaged" / first.name).is_file()
    assert (journal.folder() / "damaged/cut/experiment.json").is_file()
    assert tracking.pending() == []
    assert [run.data.tags["journal"] for run in tracking.Store("robust-transfer").runs("tags.stage = 'check'")] == [second.stem]


def test_a_cell_that_two_experiments_send_at_once_is_one_run(workspace, empty_store):
    shutil.copy(empty_store, workspace.folder)
    store = tracking.Store("robust-transfer")
    cell = {"key": "ab" * 32, "params": {"source": "natural"}, "history": [(1, {"test_accuracy": 40.0})], "time_ms": 0}
    with ThreadPoolExecutor(4) as senders:
        list(senders.map(lambda key: tracking.send_cell(store, "parent", cell | {"key": key}), [cell["key"], cell["key"][:16]] * 2))
    assert len(list(store.runs("tags.kind = 'cell'"))) == 1
