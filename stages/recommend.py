"""Which pre-trained source is best for a folder of labelled images: `python -m stages.recommend FOLDER`, one folder for each class within.

Says first what it will compute, and answers within the minutes that it is given, by whatever has been finished; run again, it goes on.
Writes recommend/<name>/: index.html, answer.json, answer.txt, and model/, to take home. Nothing else of the project changes, but for the
tracking store where --register asks for it.
"""

import argparse
import sys
from pathlib import Path

from stages.lib import command
from stages.lib.store import files
from stages.recommending import handover
from stages.recommending.clock import Clock, since_start_s
from stages.recommending.images import census
from stages.recommending.recommendation import Asked, recommend
from stages.recommending.shown import page
from stages.recommending.shown.console import console
from stages.recommending.workspace import FOLDER


def main(asked: Asked, register: str) -> None:
    root, clock = files.state_folder(), Clock(asked.minutes, since_start_s())
    answer = recommend(asked, root, clock)
    out = root / FOLDER / asked.place()
    files.write_json(out / "answer.json", answer.as_json())
    files.write_bytes(out / "answer.txt", console(answer).encode())
    page.write(out / page.NAME, answer)
    print(console(answer), end="")
    print(f"recommend: {(out / page.NAME).relative_to(root)}")
    if answer.model:
        print(f"recommend: for DVC, as recommend/ is not in Git: dvc add {answer.model['folder']} --out models/{out.name}")
    if register:
        print(f"recommend: registered as {handover.register(out, answer, register)}")


def positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError
    return value


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--labels", type=int, help="labelled images that a model is to learn from; 100, or as many as there are")
    parser.add_argument("--minutes", type=positive, default=10.0)
    parser.add_argument("--sources", nargs="*", default=[], help="names of models/catalog.yaml; those that are at hand")
    parser.add_argument("--for", dest="aim", choices=("accuracy", "robustness"), default="accuracy")
    parser.add_argument(
        "--eps", dest="eps_255", type=positive, default=4.0, help="radius of the L-infinity attack of --for robustness, in 1/255"
    )
    parser.add_argument("--most", type=int, default=census.MOST, help="images that are used of a larger folder")
    parser.add_argument("--name", default="", help="of the folder below recommend/; that of the images")
    parser.add_argument("--register", default="", metavar="NAME", help="log the model in the tracking store, and register it there")
    given = vars(parser.parse_args())
    register = given.pop("register")
    try:
        command.call(main, asked=Asked(**given), register=register)
    except KeyboardInterrupt:
        print("recommend: stopped; what is finished is kept, and the same command goes on", file=sys.stderr)
        sys.exit(130)
