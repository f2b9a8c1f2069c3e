"""The figures of detection: differences of sources from the natural one (Salman et al. 2020, Figure 4), and what they detect."""

from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from stages.lib.report.figures import INK, MUTED, PAPER, WIDTH, WRONG, drawing, facets, legend, style, zero_line
from stages.lib.report.looks import Look
from stages.lib.report.pictures import picture, sheet, write
from stages.lib.report.web import svg
from stages.lib.report.wording import signed

WIDEST = 44  # letters of a line of a title
Picture = dict[str, np.ndarray]  # image, uint8 [H, W, 3]; boxes [k, 4], labels [k] of what was detected; truth [k, 4]


@drawing
def gains(differences: pd.DataFrame, looks: dict[str, Look], published: dict[str, float | None]) -> Figure:
    """AP over that of the natural source, a panel for each detector, set and measure, a point for each source.

    Args:
        differences: panel, source, n, mean, low, high.
        published: the difference of the best robust source, by panel; None where none is of the same comparison.
    """
    panels = list(dict.fromkeys(differences["panel"]))
    figure, axes = facets(len(panels), "Figure 4: sources as backbones of detectors", columns=3, sharey=False, height=3.1)
    for ax, panel in zip(axes, panels, strict=True):
        rows = differences[differences["panel"] == panel].set_index("source")
        shown = [name for name in looks if name in rows.index]
        for place, name in enumerate(shown):
            row, look = rows.loc[name], looks[name]
            [drawn] = ax.plot([place], [row["mean"]], **style(look) | {"linestyle": ""})
            has_interval = pd.notna(row["low"])
            text = f"{look.label}: {signed(row['mean'])}" + (f" ({signed(row['low'])} to {signed(row['high'])})" if has_interval else "")
            drawn.set_gid(svg.points([f"{text}, n = {row['n']}"]))
            if has_interval:
                ax.errorbar(place, row["mean"], [[row["mean"] - row["low"]], [row["high"] - row["mean"]]], color=look.colour, capsize=4)
        if published.get(panel) is not None:
            ax.axhline(published[panel], color=MUTED, linewidth=1.0, linestyle=(0, (4, 2)))
            ax.annotate("published, best robust", (1, published[panel]), xycoords=ax.get_yaxis_transform(), xytext=(-2, 3),
                        textcoords="offset points", ha="right", fontsize=7, color=MUTED)  # fmt: skip
        ax.set_xticks(range(len(shown)), [looks[name].label.replace(", ", ",\n") for name in shown], rotation=45, ha="right")
        ax.set(title=fill(panel, WIDEST), ylabel="AP points over natural", xlim=(-0.6, len(shown) - 0.4))
        zero_line(ax, "natural")
    legend(figure, looks, differences["source"])
    return figure


def of_task(arrays: dict[str, np.ndarray], sources: list[str], task: str, target: str) -> dict[str, list[Picture]]:
    """The pictures of each source, of arrays under `<source>/<target>/<task>/<number>/<name>`."""
    found: dict[str, list[Picture]] = {}
    for source in sources:
        start = f"{source}/{target}/{task}/"
        numbered: dict[int, Picture] = {}
        for key, array in arrays.items():
            if key.startswith(start):
                number, name = key.removeprefix(start).split("/")
                numbered.setdefault(int(number), {})[name] = array
        if numbered:
            found[source] = [numbered[number] for number in sorted(numbered)]
    return found


@drawing
def detections(shown: dict[str, list[Picture]], looks: dict[str, Look], title: str) -> Figure:
    """Test images with what was surely detected, a row for each source; the dotted boxes are those of the objects that are there."""
    columns, left = max(map(len, shown.values())), 1.2
    size = (WIDTH - left) / columns
    height = 0.5 + len(shown) * size
    figure = sheet(height, title)
    for row, (source, pictures) in enumerate(shown.items()):
        top = height - 0.45 - row * size
        label, colour = looks[source].label.replace(", ", ",\n"), looks[source].colour
        write(figure, 0.1, top - size / 2, label, va="center", color=colour, fontweight="bold")
        for column, of_image in enumerate(pictures):
            corner = (left + column * size, top)
            picture(figure, corner, size, of_image["image"], text="")
            _boxes(figure, corner, 0.94 * size, of_image)
    return figure


def _boxes(figure: Figure, corner: tuple[float, float], side: float, of_image: Picture) -> None:
    height, width = of_image["image"].shape[:2]
    scale = np.array([side / width, side / height] * 2)
    for name, colour, dash in (("truth", PAPER, (0, (1, 1.5))), ("boxes", WRONG, "-")):
        for box in of_image[name]:
            x0, y0, x1, y1 = box * scale
            place = (corner[0] + x0, corner[1] - y1)
            for edge, line in ((INK, 1.6), (colour, 0.9)):
                figure.axes[0].add_patch(Rectangle(place, x1 - x0, y1 - y0, fill=False, edgecolor=edge, linewidth=line, linestyle=dash))
