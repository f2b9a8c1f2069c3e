"""The Square Attack: random search over squares, which sees logits alone (Andriushchenko et al., ECCV 2020, Algorithm 1)."""

import torch
from torch import Tensor, nn

from stages.lib.attacks.attack import Perturb, check_images, check_not_negative, in_eval_mode, margin
from stages.lib.attacks.autoattack.apgd import check_counts
from stages.lib.attacks.autoattack.windows import SEARCHES
from stages.lib.norms.table import norm_of

FIRST_SHARE = 0.8  # p: of an image's area that the first squares cover, as in AutoAttack
HALVED_AFTER = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # queries; whatever their number, as in AutoAttack


def make(*, norm: str, eps: float, queries: int = 5000) -> Perturb:
    """The attack of a radius.

    Args:
        norm: l2 or linf.
        eps: radius in pixel units of [0, 1] images; 0 leaves the images as they are.
        queries: after the one of the first point; 5,000 in the standard AutoAttack.

    Raises:
        ValueError: for another norm, an eps outside [0, inf), fewer than 1 query; and, on the call, for x outside [0, 1], for an eps
            beyond what lies within, and for images that are too small.
    """
    if norm not in SEARCHES:
        raise ValueError(f"norm is {norm!r}; allowed for the Square Attack: {', '.join(SEARCHES)}")
    ball, search = norm_of(norm), SEARCHES[norm]
    check_not_negative("eps", eps)
    check_counts(queries=queries)

    def perturb(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        check_images(x, ball, eps)
        if eps == 0:
            return x.detach()
        with in_eval_mode(model), torch.no_grad():
            best = search.start(x, eps)
            most = margin(model(best), y)
            for query in range(queries):
                left = torch.nonzero(most <= 0).flatten()  # a wrong label is not queried again
                if not len(left):
                    break
                moved = search.propose(x[left], best[left], eps, share_at(query))
                reached = margin(model(moved), y[left])
                better = reached > most[left]
                best[left[better]], most[left[better]] = moved[better], reached[better]
        return best

    return perturb


def share_at(query: int) -> float:
    """p in a query, counted from 0."""
    return FIRST_SHARE / 2 ** sum(query > last for last in HALVED_AFTER)
