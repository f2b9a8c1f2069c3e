"""Eigenvalues and eigenvectors of the Hessian of a last layer: all of them, or those above a cut, without the matrix."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from stages.lib.curvature.head import Hessian
from stages.lib.errors import RunError

EVERY = 10  # steps from one look at what has converged to the next
CONVERGED = 1e-12  # of the largest eigenvalue: the residual of a vector that is kept
Times = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues, the largest first, and their vectors."""

    values: Tensor  # float64 [k]
    vectors: Tensor  # float64 [size, k]
    complete: bool  # whether these are all

    def cut(self, relative: float) -> Tensor:
        """Eigenvalues of the pseudo-inverse, [k]: 1 / value above `relative` times the largest, and 0 below."""
        kept = (self.values > relative * self.values[0]) & (self.values > 0)
        return torch.where(kept, 1 / self.values, 0.0)

    def damped(self, relative: float) -> Tensor:
        """Eigenvalues of the inverse of H + `relative` times its largest eigenvalue, [k]."""
        return 1 / (self.values.clamp_min(0) + relative * self.values[0])


def all_of(hessian: Hessian) -> Spectrum:
    """Every eigenvalue: about 9 size^3 operations, in the memory that `sizes.bytes_of` says."""
    values, vectors = torch.linalg.eigh(hessian.dense())
    return Spectrum(values.flip(0), vectors.flip(1), complete=True)


def above(hessian: Hessian, cut: float, most_bytes: int, seed: int = 0) -> Spectrum:
    """The eigenvalues above `cut` times the largest, by Lanczos' method: each step costs 4 n size operations, and 8 size bytes.

    From one start the method finds one vector of several with the same eigenvalue. So it begins anew, on what H is without those that
    were found, until a random start finds none above the cut.

    Args:
        cut: from `sizes.LEAST_CUT` on, as what lies far below converges slowly.
        most_bytes: memory of the vectors of all steps.

    Raises:
        RunError: where these do not suffice.
    """
    random, device = torch.Generator().manual_seed(seed), hessian.z.device
    values, vectors = hessian.z.new_zeros(0), hessian.z.new_zeros(hessian.size, 0)
    most = min(hessian.size, most_bytes // (8 * hessian.size))

    def rest(v: Tensor) -> Tensor:
        """H without what was found, times v [size]."""
        return hessian.times(v[:, None])[:, 0] - vectors @ (values * (vectors.T @ v))

    while True:
        start = torch.randn(hessian.size, dtype=torch.float64, generator=random).to(device)
        found = lanczos(rest, start, cut, float(values.max()) if len(values) else None, most - len(values))
        if found is None:
            raise RunError(f"influence: too many eigenvalues are above a cut of {cut:g} for {most_bytes / 2**30:.3g} GiB; "
                           "allowed: a larger cut, or more memory_gib")  # fmt: skip
        if not len(found[0]):
            break
        values, vectors = torch.cat([values, found[0]]), torch.cat([vectors, found[1]], 1)
    if not len(values):  # H is zero
        return Spectrum(hessian.z.new_zeros(1), hessian.z.new_zeros(hessian.size, 1), complete=False)
    order = values.argsort(descending=True)
    order = order[values[order] > cut * values.max()]
    return Spectrum(values[order], vectors[:, order], complete=False)


def lanczos(times: Times, start: Tensor, cut: float, largest: float | None, most: int) -> tuple[Tensor, Tensor] | None:
    """Eigenvalues [k] above a cut, and their vectors [size, k], that are seen from a start; None where `most` steps do not suffice.

    Each new direction is put at right angles to all before it, twice (Parlett 1998, Section 6.9), so that no eigenvalue is found twice.

    Args:
        largest: the eigenvalue that the cut is a part of; None: the largest that is seen.
    """
    basis = start.new_empty(min(EVERY, most), len(start))
    diagonal, beside = [], []
    direction = start / start.norm()
    for step in range(1, most + 1):
        if step > len(basis):
            basis = torch.cat([basis, basis.new_empty(min(len(basis), most - len(basis)), len(start))])
        basis[step - 1] = direction
        so_far, left = basis[:step], times(direction)
        diagonal.append(float(direction @ left))
        for _ in range(2):
            left = left - so_far.T @ (so_far @ left)
        beside.append(float(left.norm()))
        scale = largest or max(diagonal)
        ended = beside[-1] <= CONVERGED * scale or step == len(start)
        if ended or step % EVERY == 0:
            values, vectors = torch.linalg.eigh(tridiagonal(diagonal, beside[:-1]))
            scale = largest or float(values[-1])
            errors = beside[-1] * vectors[-1].abs()
            wanted = values > cut * scale
            if ended or (errors[values + errors > cut * scale] <= CONVERGED * scale).all():
                return values[wanted].to(start.device), so_far.T @ vectors[:, wanted].to(start.device)
        direction = left / beside[-1]
    return None


def tridiagonal(diagonal: list[float], beside: list[float]) -> Tensor:
    """The symmetric matrix of a diagonal [k] and of what is beside it [k - 1], float64."""
    next_to = torch.diag(torch.tensor(beside, dtype=torch.float64), 1)
    return torch.diag(torch.tensor(diagonal, dtype=torch.float64)) + next_to + next_to.T
