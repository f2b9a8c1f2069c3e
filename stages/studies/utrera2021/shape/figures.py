"""The figure of the texture dial: shape bias, accuracy on targets, and what robust sources are better by, against the dial."""

import pandas as pd
from matplotlib.figure import Figure

from stages.lib.report.figures import drawing, facets, legend, lines, zero_line
from stages.lib.report.looks import Look

BIAS_LABEL = "shape bias"


@drawing
def dial(values: pd.DataFrame, advantages: pd.DataFrame, looks: dict[str, Look]) -> Figure:
    """Above: each quantity, a line for each radius. Below: that of robust sources minus that of natural ones.

    Args:
        values, advantages: quantity, setting (place on the dial), radius, n, mean, low, high.
        looks: by radius.
    """
    settings = sorted(values["setting"].unique())  # at equal distances, as 95 and 100 % lie close to each other
    values, advantages = (table.assign(place=table["setting"].map(settings.index)) for table in (values, advantages))
    quantities = list(dict.fromkeys(values["quantity"]))
    figure, axes = facets(2 * len(quantities), "The texture dial", columns=len(quantities), sharey=False, height=2.7)
    for place, quantity in enumerate(quantities):
        above, below = axes[place], axes[len(quantities) + place]
        is_bias = quantity == BIAS_LABEL
        lines(above, values[values["quantity"] == quantity], "place", looks, "radius")
        above.set(title=quantity, ylabel="shape bias (%)" if is_bias else "test accuracy (%)")
        lines(below, advantages[advantages["quantity"] == quantity], "place", looks, "radius")
        below.set(title=f"{quantity}: robust minus natural", ylabel="points")
        zero_line(below, "natural")
        for ax in (above, below):
            ax.set_xticks(range(len(settings)), [f"{100 * setting:g} %" for setting in settings])
            ax.set_xlabel("texture tells the class")
    legend(figure, looks, values["radius"])
    return figure
