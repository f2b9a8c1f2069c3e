"""Steps of SGD, to the bit those of torch's own class; and batches."""

from itertools import islice

import pytest
import torch
from torch import nn

from stages.lib.training.sgd import Sgd, batches, endless_batches


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4)]
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_steps_are_those_of_torch_to_the_bit(momentum, nesterov):
    ours, theirs = network(), network()
    learner = Sgd(ours.parameters(), momentum, 5e-4, nesterov)
    reference = torch.optim.SGD(theirs.parameters(), lr=1.0, momentum=momentum, weight_decay=5e-4, nesterov=nesterov)
    for step in range(12):
        if step == 6:  # as after a kill
            again = Sgd(ours.parameters(), momentum, 5e-4, nesterov)
            again.go_on_from(learner.velocities)
            learner = again
        x, y, lr = torch.randn(16, 3, 8, 8), torch.arange(16) % 4, 0.1 / (1 + step)
        nn.functional.cross_entropy(ours(x), y).backward()
        learner.step(learner.gradients(), lr)
        assert all(weight.grad is None for weight in ours.parameters())
        reference.param_groups[0]["lr"] = lr
        reference.zero_grad()
        nn.functional.cross_entropy(theirs(x), y).backward()
        reference.step()
    assert all(torch.equal(one, other) for one, other in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_a_last_batch_that_is_too_small_joins_the_one_before():
    assert [len(part) for part in batches(torch.arange(17), 8, least=2)] == [8, 9]
    assert [len(part) for part in batches(torch.arange(18), 8, least=2)] == [8, 8, 2]
    assert [len(part) for part in batches(torch.arange(18), 8, least=3)] == [8, 10]
    assert [len(part) for part in batches(torch.arange(17), 8)] == [8, 8, 1]
    assert [len(part) for part in batches(torch.arange(1), 8, least=2)] == [1]
    assert torch.equal(torch.cat(batches(torch.arange(34).view(2, 17), 8, least=2), 1), torch.arange(34).view(2, 17))


def test_every_image_is_drawn_once_before_one_is_drawn_again():
    for _ in range(2):
        drawn = list(islice(endless_batches(10, 4, seed=1), 4))
        assert [len(batch) for batch in drawn] == [4, 4, 4, 4], "a batch that is not full is left out"
        for pair in (drawn[:2], drawn[2:]):
            assert len(set(torch.cat(pair).tolist())) == 8
    assert sorted(next(endless_batches(3, 8, seed=1)).tolist()) == [0, 1, 2], "fewer images than a batch are one"
    assert not torch.equal(next(endless_batches(10, 4, seed=1)), next(endless_batches(10, 4, seed=2)))
