"""Scores: over all labels their outer products are the Fisher information by the logits, and drawn labels have the probabilities of the classifier."""

import pytest
import torch

from stages.lib.information import scores

LOGITS = torch.tensor([[0.3, -1.2, 2.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
P = LOGITS.softmax(1)
EXACT = torch.diag_embed(P) - P[:, :, None] * P[:, None, :]


def outer_products(of_labels) -> torch.Tensor:
    return sum(score[:, :, None] * score[:, None, :] for score in of_labels)


def test_all_labels_give_the_fisher_information_by_the_logits():
    torch.testing.assert_close(outer_products(scores.of_all_labels(LOGITS)), EXACT)


def test_drawn_labels_give_it_on_average():
    uniform = torch.rand(4000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(outer_products(scores.of_drawn_labels(LOGITS, uniform)), EXACT, atol=0.025, rtol=0)


@pytest.mark.parametrize("uniform", [0.0, 1 - 2**-24])
def test_the_ends_of_the_unit_interval_draw_the_first_and_the_last_label(uniform):
    [score] = scores.of_drawn_labels(LOGITS.float(), torch.full((1, 2), uniform))
    assert score.argmax(1).tolist() == [2 if uniform else 0] * 2


def test_a_label_follows_the_number_of_its_image_alone():
    uniform = torch.rand(3, 2)
    whole = list(scores.of_drawn_labels(LOGITS, uniform))
    alone = list(scores.of_drawn_labels(LOGITS[1:], uniform[:, 1:]))
    assert all(torch.equal(a[1:], b) for a, b in zip(whole, alone, strict=True))
