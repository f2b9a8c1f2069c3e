"""An attack that sees logits alone: where it finds errors that gradients do not, the gradients are not to be trusted.

Random search over squares, after the Square Attack (Andriushchenko et al., ECCV 2020): stripes to begin with, then in each query a
square of one colour change, which shrinks as the search goes on, and is kept where the margin rises.
"""

import torch
from torch import Tensor, nn

from stages.lib.attacks.attack import PIXELS, Perturb, check_images, in_eval_mode, margin
from stages.lib.norms.table import norm_of

FIRST_SHARE = 0.8  # of an image's area that the first squares cover
HALVINGS = 6  # of that share, at equal distances


def make(*, norm: str, eps: float, queries: int, bounds: tuple[float, float] = PIXELS) -> Perturb:
    """The attack of a radius.

    Args:
        norm: a name of `norms.table`.
        eps: radius in pixel units; 0 leaves the images as they are.
        queries: forward passes.
        bounds: least and greatest value of a pixel.

    Returns:
        perturb(model, x, y): the perturbed images. The model is queried in eval mode and left in the mode it was in.

    Raises:
        ValueError: for an unknown norm; and, on the call, for x outside the bounds, and for an eps beyond what lies within them.
    """
    ball = norm_of(norm)

    def perturb(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        check_images(x, ball, eps, bounds)
        if eps == 0:
            return x.detach()
        with in_eval_mode(model), torch.no_grad():
            stripes = torch.sign(torch.randn_like(x[:, :, :1])).expand_as(x)
            best = (x + ball.project(2 * eps * ball.step(stripes), eps)).clamp(*bounds)
            most = margin(model(best), y)
            for query in range(1, queries):
                change = 2 * eps * ball.step(squares(x, FIRST_SHARE * 0.5 ** (HALVINGS * query // queries)))
                moved = (x + ball.project(best - x + change, eps)).clamp(*bounds)
                reached = margin(model(moved), y)
                better = reached > most
                best, most = torch.where(better.view(-1, 1, 1, 1), moved, best), torch.where(better, reached, most)
        return best

    return perturb


def squares(like: Tensor, share: float) -> Tensor:  # [batch, C, H, W]
    """A square of each image's area `share`, at a random place, +1 or -1 in each channel; 0 around it."""
    n, channels, height, width = like.shape
    side = max(1, round((share * height * width) ** 0.5))
    rows, columns = (
        (torch.arange(extent, device=like.device) - torch.randint(max(1, extent - side + 1), (n, 1), device=like.device))
        for extent in (height, width)
    )
    inside = ((rows >= 0) & (rows < side))[:, None, :, None] & ((columns >= 0) & (columns < side))[:, None, None, :]
    return inside * torch.sign(torch.randn(n, channels, 1, 1, device=like.device, dtype=like.dtype))
