"""AutoAttack (Croce & Hein, ICML 2020), of the Adversarial Robustness Toolbox's attacks: an extra, `pip install -e '.[autoattack]'`.

It is four attacks: APGD on the cross-entropy, APGD on the difference of logits ratio, DeepFool and the Square Attack, each on the images
that those before it left standing. The ratio takes three logits or more; with two classes that attack is left out.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from stages.lib.attacks.attack import PIXELS, Perturb, check_images, in_eval_mode
from stages.lib.errors import RunError
from stages.lib.norms.norm import Norm
from stages.lib.norms.table import norm_of

STEPS = 100  # of APGD and DeepFool, as published
FIRST_STEP = 2.0  # of APGD, in radii, as published
LEAST_CLASSES = 3  # of the ratio, whose denominator is the first logit minus the third


def make(*, norm: str, eps: float, queries: int, restarts: int) -> Perturb:
    """The attack of a radius.

    Args:
        norm: a name of `norms.table`.
        eps: radius in pixel units of [0, 1] images; 0 leaves the images as they are.
        queries: of the Square Attack; 5,000 as published.
        restarts: of APGD; 5 in the toolbox, 1 as published.

    Raises:
        RunError: where the extra is not installed.
        ValueError: for an unknown norm; and, on the call, for x outside [0, 1], and for an eps beyond what lies within.
    """
    try:
        import art  # noqa: F401 - asked for before anything runs
    except ImportError:
        raise RunError("AutoAttack is an extra: pip install -c constraints.txt -e '.[autoattack]'") from None

    ball = norm_of(norm)

    def perturb(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        check_images(x, ball, eps)
        if eps == 0:
            return x.detach()
        worst = x.detach().clone()
        with in_eval_mode(model):
            for attack in _attacks(model, x, ball, eps, queries, restarts):
                standing = torch.nonzero(_predicted(model, worst) == y).flatten()
                if len(standing):
                    with np.errstate(all="ignore"):  # the toolbox divides by windows of zeros
                        moved = attack.generate(x[standing].cpu().numpy(), y[standing].cpu().numpy())
                    delta = (torch.from_numpy(moved).to(x) - x[standing]).nan_to_num()
                    # projected, as DeepFool seeks the nearest error, within the ball or not
                    worst[standing] = (x[standing] + ball.project(delta, eps)).clamp(*PIXELS)
        return worst

    return perturb


def _predicted(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return model(x).argmax(1)


def _attacks(model: nn.Module, x: Tensor, norm: Norm, eps: float, queries: int, restarts: int) -> Iterator[object]:
    from art.attacks.evasion import AutoProjectedGradientDescent, DeepFool, SquareAttack
    from art.estimators.classification import PyTorchClassifier

    with torch.no_grad():
        classes = model(x[:1]).shape[1]
    classifier = PyTorchClassifier(
        model, nn.CrossEntropyLoss(), tuple(x.shape[1:]), classes, clip_values=PIXELS, device_type="gpu" if x.is_cuda else "cpu"
    )
    ball, how = {"norm": norm.order, "eps": eps}, {"batch_size": len(x), "verbose": False}
    for loss in ("cross_entropy", "difference_logits_ratio")[: 1 if classes < LEAST_CLASSES else 2]:
        yield AutoProjectedGradientDescent(
            classifier, **ball, **how, eps_step=FIRST_STEP * eps, max_iter=STEPS, nb_random_init=restarts, loss_type=loss
        )
    yield DeepFool(classifier, **how, max_iter=STEPS, nb_grads=min(10, classes))
    yield SquareAttack(classifier, **ball, **how, max_iter=queries)
