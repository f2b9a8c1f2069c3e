"""The interval of an accuracy on test images; apart from `statistics`, whose packages take a second to import."""

import math

Z = 1.959963984540054  # quantile of the normal distribution behind an interval of 95 %


def wilson(percent: float, n: int, z: float = Z) -> tuple[float, float]:
    """Wilson's interval of an accuracy on n test images (Wilson 1927), in percent; 95 % unless `z` says other."""
    p, z2 = percent / 100, z**2 / n
    centre = (p + z2 / 2) / (1 + z2)
    half = z * math.sqrt(p * (1 - p) / n + z2 / (4 * n)) / (1 + z2)
    return 100 * max(0.0, centre - half), 100 * min(1.0, centre + half)
