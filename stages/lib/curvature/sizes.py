"""How large the Hessian of a last layer is, and what its eigenvectors take; this module does not import torch."""

COPIES = 4  # of the matrix, that LAPACK's divide and conquer holds at once: the matrix, its vectors, and room for two
LEAST_CUT = 1e-3  # of the largest eigenvalue, from which on Lanczos' method finds those above in few steps


def size_of(n: int, width: int, classes: int) -> int:
    """Rows of the Hessian of n images with so many features, without what all images share."""
    return (classes - 1) * min(n, width + 1)


def bytes_of(size: int) -> int:
    """Memory that all eigenvectors of a matrix with so many rows take while they are computed."""
    return COPIES * 8 * size**2


def needs_all(cuts: list[float], damping: list[float]) -> bool:
    """Whether these inverses need every eigenvalue."""
    return bool(damping) or min(cuts) < LEAST_CUT
