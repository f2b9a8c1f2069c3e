"""A table of faults: what each kind of work, each setting and each state says when something is wrong with it, in one line."""

from pathlib import Path

import kinds
import pytest

from stages.lib.errors import RunError


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
    assert (damaged if damaged == WEIGHTS else "data/images/noise") in line
    assert "dvc repro" in line
    written = set((noise / ".cells").rglob("*.json")) - set(before)
    assert not [path for path in written if key in path.name]
