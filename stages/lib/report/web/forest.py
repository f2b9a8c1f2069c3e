"""Where things stand in a forest plot: differences on one scale, zero in the middle."""

import math

from stages.lib.report.wording import signed

REACH = 47  # percent of the width from zero to the largest value


def place(value: float, scale: float) -> str:
    """Percent of the width from the left; `scale` is the largest value of the plot."""
    return f"{50 + REACH * value / scale:.2f}"


def ticks(scale: float) -> list[tuple[str, str]]:
    """Place and text of five ticks: zero, and two round numbers on each side of it."""
    unit = 10.0 ** math.floor(math.log10(scale / 2))
    step = max(k * unit for k in (1, 2, 5) if k * unit <= scale / 2)
    step *= int(scale / step) // 2
    digits = max(0, -math.floor(math.log10(step)))
    return [(place(k * step, scale), signed(k * step, digits)) for k in range(-2, 3)]
