"""Predict a folder of images with a model of this pipeline: `python -m stages.predict MODEL FOLDER`.

MODEL is a target, for its best model (`digits`); a source (`natural`); a kept fine-tuned model
(`natural/digits/1_100_20000000`); or a folder with a card, as `dvc artifacts get` brings one. Images of any size, in grey or
colour, are brought to the network as those that it was tested on. Prints CSV: file, label, probability. A file that is no image is
named and set aside.
"""

import csv
import sys
from contextlib import suppress
from pathlib import Path

from stages.lib import command
from stages.lib.errors import RunError
from stages.lib.models import kept, labelling
from stages.lib.progress import log


def main(model: str, folder: str) -> None:
    from stages.lib.models.classifier import Classifier, tensors  # here, as torch takes seconds to import

    card, weights = kept.model(model)
    paths = labelling.paths_in(Path(folder))
    writer, n = csv.writer(sys.stdout, lineterminator="\n"), 0
    writer.writerow(labelling.HEADER)
    for n, row in enumerate(labelling.rows_of(Classifier(card, tensors(weights)), Path(folder), paths, log), 1):  # noqa: B007
        writer.writerow(row)
    if not n:
        raise RunError(f"{folder}: none of its {len(paths)} files is an image that can be read")
    sys.stdout.flush()
    log(f"{model}: {card.title}: {n:,} images" + (f"; {len(paths) - n:,} files set aside" if n < len(paths) else ""))


if __name__ == "__main__":
    with suppress(BrokenPipeError):  # of a reader that has seen enough, such as `head`
        command.run(main, __doc__, "model", "folder")
