"""Which sources are fine-tuned at all, and what their features let expect of them."""

import numpy as np

from stages.lib.report.intervals import resampled
from stages.recommending.deciding.arms import Scored

LEAST_SOURCES = 4  # that are fine-tuned, whatever the proxies say
KEPT = 0.5  # of the sources, by the proxies


def prune(scored: dict[str, Scored], share: float, always: str) -> tuple[list[str], dict[str, str]]:
    """The sources that are fine-tuned, the best first, and why the others are not.

    A source goes where the mean of its heads can be told from that of the best source, and it is in the worse half.

    Args:
        always: the source that stays in any case.
    """
    ranked = sorted(
        (name for name in scored if np.isfinite(scored[name].heads).all()), key=lambda name: -float(np.mean(scored[name].heads))
    )
    if not ranked:
        return list(scored), {}
    found = dict(zip(ranked, resampled.compare(np.stack([scored[name].heads for name in ranked]), share), strict=True))
    most = max(LEAST_SOURCES, round(KEPT * len(ranked)))
    kept = [name for i, name in enumerate(ranked) if i < most or found[name].may_be_best or name == always]
    out = {
        name: f"with frozen features {found[name].behind:.1f} points behind {ranked[0]} (at least {found[name].low:.1f})"
        for name in ranked
        if name not in kept
    }
    return kept + [name for name in scored if name not in found], out
