"""How many floating-point operations runs need in products of matrices, and how long a GPU would take for these alone."""

from collections.abc import Iterable
from statistics import fmean

from stages.lib.runs.costs import Kind, Work
from stages.lib.runs.planning.passes import Passes

GPU, PEAK, SHARE = "H200", 989e12, 0.5  # operations per second in bfloat16, not sparse (NVIDIA's data sheet), and the share that is reached
OF_A_STEP = 3  # passes forward that a pass forward and back costs


def of_runs(total: dict[Kind, Work], passes: Iterable[Passes]) -> tuple[float, float]:
    """Operations of all that is not done; and of the same runs if images passed the whole network in each epoch and in each test.

    Args:
        passes: through frozen parts, beside those that are made anew in each epoch.
    """
    from stages.lib.networks.layers import operations  # here, as torch takes seconds to import

    def parts_of(kind: Kind) -> list[tuple[int, int]]:
        of = {blocks: operations.of_parts(kind.architecture, blocks, kind.image_size) for blocks in set(kind.at_once)}
        return [of[blocks] for blocks in kind.at_once]

    kept = anew = 0.0
    for kind, work in total.items():
        of_frozen, of_trained = zip(*parts_of(kind), strict=True)
        own = fmean(of_trained) * (OF_A_STEP * work.trained + work.tested)
        frozen = max(of_frozen) / kind.together if kind.one_pass else fmean(of_frozen)  # for each run
        again = {"train": work.trained, "test": work.tested}
        kept += own + frozen * (work.frozen + sum(n for split, n in again.items() if split not in kind.fixed_within_a_run))
        anew += own + fmean(of_frozen) * (work.trained + work.tested)
    kept += sum(parts_of(kind)[0][0] * n for each in passes for kind, n in each.images.items())
    return 2 * kept, 2 * anew


def seconds(operations: float) -> float:
    """Of the GPU."""
    return operations / (PEAK * SHARE)
