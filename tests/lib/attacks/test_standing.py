"""Attacks in turn: each one gets only the images that stand."""

import torch
from attacked import convolutional, images

from stages.lib.attacks import pgd
from stages.lib.attacks.autoattack import apgd_pgd, standard
from stages.lib.attacks.standing import in_turn, labelled


def test_each_attack_gets_the_images_that_stand_and_what_fell_stays_as_it_is():
    model, (x, _) = convolutional(2).eval(), images(n=12)
    y = model(x).argmax(1)
    y[:2] = (y[:2] + 1) % 5
    asked = []

    def first(_, some, labels):
        asked.append(len(some))
        return pgd.make(norm="linf", eps=0.03, steps=3, step_ratio=2)(model, some, labels)

    def second(_, some, labels):
        asked.append(len(some))
        return some

    after_one = in_turn([first], model, x, y)
    left = labelled(model, after_one, y)
    moved = in_turn([first, second], model, x, y)
    assert asked == [10, 10, int(left.sum())]
    assert 0 < left.sum() < 10
    assert torch.equal(moved[~left], after_one[~left])
    assert torch.equal(moved[left], x[left])
    assert torch.equal(moved[:2], x[:2]), "wrong from the start"


def test_the_default_and_autoattack_leave_no_more_than_their_members():
    model, (x, _) = convolutional(2).eval(), images(n=30)
    y = model(x).argmax(1)
    how = {"norm": "l2", "eps": 0.3, "steps": 5}
    torch.manual_seed(0)
    alone = labelled(model, pgd.make(**how, step_ratio=apgd_pgd.STEP_RATIO, loss="margin", random_start=True)(model, x, y), y).sum()
    for perturb in (apgd_pgd.make(**how, restarts=1), standard.make(**how, queries=20)):
        assert 0 < labelled(model, perturb(model, x, y), y).sum() <= alone + 1
