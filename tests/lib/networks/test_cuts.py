"""The last batch norm, or all batch norms, besides the head: cut there, a network computes the same, and nothing else of it is trained."""

import numpy as np
import pytest
import torch
from torch import nn

from stages.lib.networks import inference, units
from stages.lib.networks.architectures import WITHOUT_LAST_NORM
from stages.lib.networks.layers import cuts
from stages.lib.networks.stacking import stack
from stages.lib.training.finetuning import FineTuning, Inputs, finetune_together

LAST = {  # the last batch norm of one architecture of each shape, by its name in the network
    "small_resnet": "layer3_2.bn2", "resnet50": "layer4_2.bn3", "cifar_resnet18": "layer4_1.bn2", "wide_resnet34_1": "pool.bn",
    "mobilenet_v2": "features_18.1",
}  # fmt: skip


def built(architecture: str, seed: int = 0) -> nn.Sequential:
    """A network whose batch norms have statistics, scales and shifts that differ between channels."""
    torch.manual_seed(seed)
    network = units.build(architecture, 5, [0.4, 0.5, 0.6], [0.2, 0.25, 0.3])
    for norm in (module for module in network.modules() if isinstance(module, nn.BatchNorm2d)):
        for values in (norm.weight, norm.running_var):
            values.data.uniform_(0.5, 1.5)
        for values in (norm.bias, norm.running_mean):
            values.data.uniform_(-0.2, 0.2)
    return network


@pytest.mark.parametrize("architecture", LAST)
@torch.no_grad()
def test_before_and_after_the_last_batch_norm_are_the_network(architecture):
    network = built(architecture).eval()
    x = torch.rand(2, 3, 32, 32)
    frozen, trained = cuts.cut(network, "last_norm")
    activations = frozen(x)
    kept = activations.clone()
    torch.testing.assert_close(trained(activations), network(x), rtol=1e-5, atol=1e-5)
    assert torch.equal(activations, kept)  # so that they can be used again
    own = {f"{LAST[architecture]}.{name}" for name in ("weight", "bias")} | {"head.weight", "head.bias"}
    weights, whole = dict(trained.named_parameters()), dict(network.named_parameters())
    assert weights.keys() == own
    assert all(weight is whole[name] for name, weight in weights.items())  # shared, under the network's names
    assert not {id(weight) for weight in frozen.parameters()} & {id(weight) for weight in weights.values()}


def test_the_catalogue_of_architectures_knows_those_without_a_last_norm():
    for architecture in ("vgg16_bn", "resnet18", "cifar_resnet50", "madry_wide_resnet32_1", "mnasnet1_0", "shufflenet_v2_x1_0"):
        with torch.device("meta"):  # shapes without memory
            network = units.build(architecture, 5, [0.5] * 3, [0.5] * 3)
        if architecture in WITHOUT_LAST_NORM:
            with pytest.raises(ValueError, match="no batch norm as its last layer with weights before the head"):
                cuts.cut(network, "last_norm")
        else:
            cuts.cut(network, "last_norm")


def test_a_network_without_batch_norm_has_neither_mode():
    network = nn.Sequential()
    network.add_module("stem", nn.Conv2d(3, 4, 1))
    network.add_module("head", nn.Linear(4, 2))
    for blocks in ("norms", "last_norm"):
        with pytest.raises(ValueError, match=f"blocks is {blocks}; this network has no batch norm"):
            cuts.cut(network, blocks)


def data(n: int = 40) -> Inputs:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (n, 16, 16, 3), dtype=np.uint8), np.arange(n) % 5
    return Inputs(x, y, x[:20], y[:20])


def tuned(blocks: int | str, seeds: list[int], kept: bool, batchnorm: str = "source") -> tuple[list[nn.Sequential], list]:
    """Networks of small_resnet that are trained together for three epochs, on images or on kept activations; and the last row of each."""
    inputs, networks, runs = data(), [], []
    for seed in seeds:
        network = built("small_resnet")
        torch.nn.init.normal_(network.head.weight, generator=torch.Generator().manual_seed(seed))
        frozen, trained = cuts.cut(network, blocks)
        networks.append(network)
        runs.append(FineTuning(trained, np.arange(40), seed, frozen))
    if kept:
        one = runs[0].frozen
        train_x, test_x = (np.concatenate(list(inference.frozen_activations(one, x))) for x in (inputs.train_x, inputs.test_x))
        inputs = Inputs(train_x, inputs.train_y, test_x, inputs.test_y)
    settings = {"epochs": 3, "eval_every": 3, "batch_size": 16, "lr": 0.1, "momentum": 0.9, "weight_decay": 0.001, "drops": [1]}
    *_, last = finetune_together(runs, inputs, frozen_batchnorm=batchnorm, **settings)
    return networks, last


@pytest.mark.parametrize("batchnorm", ["source", "batch"])
@pytest.mark.parametrize("blocks", ["last_norm", "norms"])
def test_fine_tuning_is_that_of_a_plain_loop_of_torch(blocks, batchnorm):
    [ours], [row] = tuned(blocks, [3], kept=False, batchnorm=batchnorm)
    theirs = built("small_resnet")
    torch.nn.init.normal_(theirs.head.weight, generator=torch.Generator().manual_seed(3))
    learning = "bn" if blocks == "norms" else "layer3_2.bn2"
    named = dict(theirs.named_parameters())
    weights = [weight for name, weight in named.items() if name.startswith("head") or (learning in name and weight.dim() == 1)]
    if blocks == "norms":
        weights += [weight for name, weight in named.items() if "downsample.1" in name]
    optimiser = torch.optim.SGD(weights, lr=0.1, momentum=0.9, weight_decay=0.001)
    inputs, order = data(), torch.Generator().manual_seed(3)
    x, y = torch.from_numpy(inputs.train_x).permute(0, 3, 1, 2) / 255, torch.from_numpy(inputs.train_y)
    for lr in (0.1, 0.01, 0.01):  # every third of the epochs would be 0.1, 0.01, 0.001
        optimiser.param_groups[0]["lr"] = lr
        theirs.train(blocks == "norms" or batchnorm == "batch")
        theirs.layer3_2.bn2.train()
        for batch in torch.randperm(40, generator=order).split(16):
            optimiser.zero_grad()
            nn.functional.cross_entropy(theirs(x[batch]), y[batch]).backward()
            optimiser.step()
    for name, values in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], values, rtol=2e-3, atol=2e-4, msg=name)
    theirs.eval()
    with torch.no_grad():
        assert row.test_accuracy == pytest.approx(100 * (theirs(x[:20]).argmax(1) == y[:20]).float().mean().item())


def test_kept_activations_and_runs_side_by_side_give_what_each_gives_alone():
    alone = [tuned("last_norm", [seed], kept=False) for seed in (1, 2, 3)]
    together, rows = tuned("last_norm", [1, 2, 3], kept=True)
    for ([one], [row]), network, other in zip(alone, together, rows, strict=True):
        for name in ("layer3_2.bn2.weight", "layer3_2.bn2.running_var", "head.weight"):
            torch.testing.assert_close(network.state_dict()[name], one.state_dict()[name], rtol=2e-3, atol=2e-4)
        assert other.test_accuracy == pytest.approx(row.test_accuracy, abs=5.1)
    assert not torch.equal(together[0].head.weight, together[1].head.weight)


def test_a_stack_leaves_untrained_what_its_networks_do_not_train():
    networks = [cuts.cut(built("small_resnet", seed), "norms")[1][1:] for seed in (0, 1)]  # without the normalisation of images
    names = {name for name, weight in networks[0].named_parameters() if weight.requires_grad}
    stacked = stack(networks)
    assert {name for name, weight in stacked.named_parameters() if weight.requires_grad} == names
    assert "stem.conv1.weight" not in names
