"""Label images with the model in this folder: `python classify.py FOLDER` prints file, label and probability as CSV.

In Python:

    import classify

    model = classify.load()
    model.labels(images)  # uint8 [n, side, side, channels] to [("cat", 0.98), ...]
    classify.label_files(model, ["a.jpg", "b.png"])

Needs torch, safetensors and NumPy; to read files Pillow, too; and torchvision or timm for an architecture of theirs. The project that
trained the model need not be installed: the files of it that the model runs on are in `code/`.
"""

import csv
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
AT_ONCE = 64  # images in memory


def load(folder: Path = HERE) -> Any:
    """The model in a folder, `stages.lib.models.classifier.Classifier`: its `labels` and `probabilities` are of arrays of images."""
    if (folder / "code").is_dir():
        sys.path.insert(0, str(folder / "code"))
    from stages.lib.models import classifier  # here, as it is found only now

    return classifier.load(folder)


def label_files(model: Any, paths: list[str]) -> list[tuple[str, float]]:
    """The name of each image file's most probable class, and its probability; raises RunError where a file is no image."""
    from stages.lib.datasets.pictures import Pictures  # here, as arrays need no Pillow

    pictures = Pictures(Path(), paths, model.card.image_size, model.card.crop, model.card.channels, None)
    return [found for i in range(0, len(paths), AT_ONCE) for found in model.labels(pictures[i : i + AT_ONCE])]


def main(folder: str) -> None:
    model, rows = load(), csv.writer(sys.stdout, lineterminator="\n")
    rows.writerow(["file", "label", "probability"])
    files = [path.relative_to(folder) for path in sorted(Path(folder).rglob("*")) if path.is_file()]
    files = [path for path in files if not any(part.startswith(".") for part in path.parts)]
    for first in range(0, len(files), AT_ONCE):
        some = files[first : first + AT_ONCE]
        for path, (label, probability) in zip(some, _labels(model, [str(Path(folder) / path) for path in some]), strict=True):
            if label is not None:
                rows.writerow([path.as_posix(), label, f"{probability:.4f}"])


def _labels(model: Any, paths: list[str]) -> list[tuple[str | None, float]]:
    """As `label_files`; a file that is no image is named and has no label."""
    from stages.lib.errors import RunError  # here, as it is found only once the model is loaded

    try:
        return label_files(model, paths)
    except RunError as error:
        if len(paths) > 1:
            return [_labels(model, [path])[0] for path in paths]
        print(f"set aside: {error}", file=sys.stderr)
        return [(None, 0.0)]


if __name__ == "__main__":
    main(*sys.argv[1:2]) if len(sys.argv) == 2 else sys.exit(__doc__)
