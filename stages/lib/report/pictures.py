"""The report's pictures: samples of the datasets, and adversarial examples. Arrays in, matplotlib Figures out."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from stages.lib.report.figures import INK, MUTED, WIDTH, WRONG, drawing
from stages.lib.report.looks import Look

LONGEST = 13  # letters of a name of a class below a picture


@drawing
def samples(splits: dict[str, tuple[np.ndarray, np.ndarray]], title: str, names: list[str] | None = None) -> Figure:
    """Pictures of a dataset, a row per split.

    Args:
        splits: of each, images uint8 [k, H, W, 1 or 3] and labels int64 [k].
        names: of the classes, by label; None: labels are numbers.
    """
    columns = max(len(y) for _, y in splits.values())
    size, left = (WIDTH - 1.35) / columns, 1.3
    height = 0.42 + len(splits) * (size + 0.2)
    figure = sheet(height, title)
    for row, (split, (x, y)) in enumerate(splits.items()):
        top = height - 0.45 - row * (size + 0.2)
        write(figure, 0.1, top - size / 2, split.replace("_", "\n"), va="center", color=MUTED)
        for column, (image, label) in enumerate(zip(x, y, strict=True)):
            picture(figure, (left + column * size, top), size, image, text=class_text(label, names))
    return figure


@drawing
def examples(
    groups: pd.DataFrame, looks: dict[str, Look], title: str, names: list[str] | None = None, per_norm: int = 2
) -> Figure:  # fmt: skip
    """Adversarial examples, a row per source: clean image, magnified perturbation, attacked image with its predicted label.

    Args:
        groups: source, norm, radius (text), and arrays: clean and adversarial [k, H, W, 3] in [0, 1], label,
            predicted_clean and predicted_adversarial [k]. The images of every source are the same.
        names: of the classes, by label; None: labels are numbers.
    """
    norms, sources = list(dict.fromkeys(groups["norm"])), [s for s in looks if s in set(groups["source"])]
    left, gap = 1.2, 0.22
    size = (WIDTH - left - gap * (2 * per_norm - 1)) / (6 * per_norm)
    height = 0.76 + len(sources) * (size + 0.26)
    figure = sheet(height, title)
    for i, norm in enumerate(norms):
        here = groups[groups["norm"] == norm].set_index("source")
        scale = _magnification(here)
        shown = _telling(here.loc[next(n for n in sources if n in here.index)], per_norm)
        for j, k in enumerate(shown):
            x = left + (i * per_norm + j) * (3 * size + gap)
            if j == 0:
                write(figure, x, height - 0.5, here["radius"].iloc[0], fontweight="bold")
            for part, head in enumerate(("clean", f"change ×{scale}", "attacked")):
                write(figure, x + (part + 0.47) * size, height - 0.68, head, ha="center", fontsize=7, color=MUTED)
            for row, name in enumerate(sources):
                if name in here.index:
                    _triple(figure, (x, height - 0.74 - row * (size + 0.26)), size, group=here.loc[name], k=k, scale=scale, names=names)
    for row, name in enumerate(sources):
        y = height - 0.74 - row * (size + 0.26) - size / 2
        write(figure, 0.1, y, looks[name].label.replace(", ", ",\n"), va="center", color=looks[name].colour, fontweight="bold")
    return figure


def class_text(label: int, names: list[str] | None) -> str:
    """The name of a class as it fits below a picture; its number where it has none."""
    name = names[label] if names else str(label)
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def _triple(
    figure: Figure, corner: tuple[float, float], size: float, *, group: pd.Series, k: int, scale: int, names: list[str] | None
) -> None:  # fmt: skip
    clean, adversarial, label = group["clean"][k], group["adversarial"][k], int(group["label"][k])
    before, after = int(group["predicted_clean"][k]), int(group["predicted_adversarial"][k])
    x, y = corner
    pictures = (clean, np.clip(0.5 + scale * (adversarial - clean), 0, 1), adversarial)
    for part, (image, seen) in enumerate(zip(pictures, (before, None, after), strict=True)):
        text = "" if seen is None else class_text(seen, names) if names else f"seen as {seen}"
        picture(figure, (x + part * size, y), size, image, text=text, colour=INK if seen == label else WRONG)


def _telling(group: pd.Series, count: int) -> list[int]:
    """The first examples of distinct labels that the first source loses to the attack; then any others."""
    lost = (group["predicted_clean"] == group["label"]) & (group["predicted_adversarial"] != group["label"])
    first = {int(label): k for k, label in reversed(list(enumerate(group["label"])))}
    distinct = np.isin(np.arange(len(lost)), list(first.values()))
    return sorted(range(len(lost)), key=lambda k: (-int(lost[k]) - int(distinct[k]), k))[:count]


def _magnification(groups: pd.DataFrame) -> int:
    """So many times the largest change of a pixel fills the range of half of [0, 1]."""
    largest = max(float(np.abs(a - c).max()) for a, c in zip(groups["adversarial"], groups["clean"], strict=True))
    return max(1, int(0.5 / largest + 0.01)) if largest > 0 else 1


def picture(figure: Figure, corner: tuple[float, float], size: float, image: np.ndarray, *, text: str, colour: str = MUTED) -> None:
    """An image with its upper left corner at `corner` (inches from the lower left of the figure), and a line below it."""
    x, y = corner
    side = 0.94 * size
    pixels = image if image.dtype == np.uint8 else np.round(image * 255).astype(np.uint8)
    pixels = np.repeat(pixels, 3, axis=-1) if image.shape[-1] == 1 else pixels
    figure.axes[0].imshow(pixels, extent=(x, x + side, y - side, y), aspect="auto", interpolation="none")
    write(figure, x + side / 2, y - side - 0.03, text, ha="center", va="top", fontsize=7, color=colour)


def write(figure: Figure, x: float, y: float, text: str, **style: object) -> None:
    """A text at x, y in inches from the lower left of the figure."""
    figure.axes[0].text(x, y, text, **style)


def sheet(height: float, title: str) -> Figure:
    """A figure whose one Axes counts in inches."""
    figure = Figure(figsize=(WIDTH, height))
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set_axis_off()
    ax.set_autoscale_on(False)
    ax.set(xlim=(0, WIDTH), ylim=(0, height))
    write(figure, 0.1, height - 0.08, title, va="top", fontsize=11.5, fontweight="bold")
    return figure
