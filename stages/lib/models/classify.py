"""Label images with the model in this folder: `python classify.py FOLDER` prints file, label and probability as CSV.

In Python:

    import classify

    model = classify.load()
    model.labels(images)  # uint8 [n, side, side, channels] to [("cat", 0.98), ...]

Needs torch, safetensors and NumPy; to read files Pillow, too; and torchvision or timm for an architecture of theirs. The project that
trained the model need not be installed: the files of it that the model runs on are in `code/`.
"""

import csv
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def load(folder: Path = HERE) -> Any:
    """The model in a folder, `stages.lib.models.classifier.Classifier`: its `labels` and `probabilities` are of arrays of images."""
    if (folder / "code").is_dir():
        sys.path.insert(0, str(folder / "code"))
    from stages.lib.models import classifier  # here, as it is found only now

    return classifier.load(folder)


def main(folder: str) -> None:
    model, writer = load(), csv.writer(sys.stdout, lineterminator="\n")
    from stages.lib.errors import RunError  # here, as they are found only once the model is loaded
    from stages.lib.models import labelling

    try:
        paths = labelling.paths_in(Path(folder))
        writer.writerow(labelling.HEADER)
        writer.writerows(labelling.rows_of(model, Path(folder), paths, lambda line: print(line, file=sys.stderr)))
    except RunError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:2]) if len(sys.argv) == 2 else sys.exit(__doc__)
