"""Published weights: read in every format, refused when they need code or are not what they should be."""

import io
import pickle
from pathlib import Path

import checkpoints as made
import dill
import pytest
import torch

from stages.lib.errors import RunError
from stages.lib.networks import checkpoints
from stages.lib.networks.families import resnet

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


@pytest.fixture
def network():
    torch.manual_seed(0)
    return resnet.published("resnet18", 5)


FORMATS = {
    "safetensors": made.safetensors_format,
    "torchvision": made.torchvision_format,
    "DataParallel": made.parallel_format,
    "robustness": lambda n: made.robustness_format(n, MEAN, STD),
    "robustness, one more `model.`": lambda n: made.robustness_format(n, MEAN, STD, extra="model."),
    "robustness, older key": lambda n: made.robustness_format(n, MEAN, STD, key="state_dict"),
    "robustness, older file": lambda n: made.robustness_format(n, MEAN, STD, zipped=False),
    "torchvision, older file": lambda n: made.torch_bytes(n.state_dict(), zipped=False),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_weights_and_the_normaliser_that_it_holds(name, network, tmp_path):
    path = tmp_path / "w.ckpt"
    path.write_bytes(FORMATS[name](network))
    found = checkpoints.read(path)
    expected = network.state_dict()
    assert found.tensors.keys() == expected.keys()
    assert all(torch.equal(found.tensors[key], tensor) for key, tensor in expected.items())
    if "robustness" in name:
        assert found.mean == pytest.approx(MEAN)
        assert found.std == pytest.approx(STD)
    else:
        assert found.mean is found.std is None


def test_weights_with_a_normaliser_of_the_attacker_alone_have_it(network, tmp_path):
    content = torch.load(io.BytesIO(made.robustness_format(network, MEAN, STD)), weights_only=True)
    content["model"] = {name: tensor for name, tensor in content["model"].items() if "module.normalizer" not in name}
    (tmp_path / "w.ckpt").write_bytes(made.torch_bytes(content))
    assert checkpoints.read(tmp_path / "w.ckpt").std == pytest.approx(STD)


def test_a_network_with_a_normaliser_and_no_attacker_is_taken(network, tmp_path):
    content = torch.load(io.BytesIO(made.robustness_format(network, MEAN, STD)), weights_only=True)
    content["model"] = {name: tensor for name, tensor in content["model"].items() if ".attacker." not in name}
    (tmp_path / "w.ckpt").write_bytes(made.torch_bytes(content))
    found = checkpoints.read(tmp_path / "w.ckpt")
    assert found.tensors.keys() == network.state_dict().keys()
    assert found.mean == pytest.approx(MEAN)


def refusal(path: Path) -> str:
    with pytest.raises(RunError) as caught:
        checkpoints.read(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: ")
    assert "\n" not in line
    return line


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_that_would_create_a_file_is_refused_and_creates_none(zipped, tmp_path):
    path, created = tmp_path / "w.ckpt", tmp_path / "created"
    path.write_bytes(made.malicious(created, zipped))
    line = refusal(path)
    assert f"needs code to be read ({open.__module__}.open)" in line  # io.open, from Python 3.12 on _io.open
    assert "a state dict, or safetensors" in line
    assert not created.exists()
    torch.load(path, weights_only=False)["epoch"].close()
    assert created.exists(), "an ordinary unpickler runs it"


@pytest.mark.parametrize("protocol", range(6))
def test_a_bare_pickle_that_would_create_a_file_is_refused_and_creates_none(protocol, tmp_path):
    path, created = tmp_path / "w.pkl", tmp_path / "created"
    path.write_bytes(made.bare_pickle({"model": made._Touch(created)}, protocol))
    assert "weights_only" not in refusal(path), "torch's advice is to read the file unrestricted"
    assert not created.exists()
    pickle.loads(path.read_bytes())["model"].close()
    assert created.exists()


def test_a_pickled_lambda_is_named(tmp_path):
    (tmp_path / "w.ckpt").write_bytes(made.torch_bytes({"lambda": lambda epoch: 0.1**epoch}, pickler=dill))
    assert "dill._dill._create_function" in refusal(tmp_path / "w.ckpt")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<!DOCTYPE html><html>log in</html>", "HTML page"),
        (b"", "no whole safetensors file"),
        (made.torch_bytes({"a": torch.zeros(1000)})[:1500], "no whole checkpoint"),
        (made.torch_bytes({"a": torch.zeros(1000)}, zipped=False)[:1500], "no whole checkpoint"),
        (made.torch_bytes([1, 2]), "holds no state dict; found: list"),
        (made.torch_bytes({"epoch": 3, "optimizer": {}}), "holds no state dict; found: epoch, optimizer"),
        (made.torch_bytes({}), "holds no state dict"),
    ],
)
def test_what_is_no_checkpoint_gets_one_line(content, words, tmp_path):
    (tmp_path / "w.ckpt").write_bytes(content)
    assert words in refusal(tmp_path / "w.ckpt")


def test_a_missing_file_is_named(tmp_path):
    assert "the file is missing" in refusal(tmp_path / "w.ckpt")
