"""The maximum norm: the largest change of a single value."""

import math

from stages.lib.norms.norm import Norm

NORM = Norm(
    name="linf",
    label="L∞",
    order=math.inf,
    start=lambda like, eps: like.detach().clone().uniform_(-eps, eps),
    step=lambda gradient: gradient.sign(),
    project=lambda delta, eps: delta.clamp(-eps, eps),
    diameter=lambda values: 1.0,
    colours=("#4fc3b5", "#0c8599"),
    marker="D",
    number=lambda eps: f"{eps * 255:.3g}/255",
    largest=1.0,
)
