"""The figures of Shafahi et al.: what is drawn is what the runs say."""

import made_shafahi
import numpy as np
import pytest

from stages.lib.report import looks
from stages.studies.shafahi2020 import figures
from stages.studies.shafahi2020.numbers import Transfers

LOOKS = looks.looks_of([("nat", "natural", "natural", 0.0), ("rob", "L∞ 8/255", "linf", 8 / 255)])


@pytest.fixture
def transfers() -> Transfers:
    random = np.random.default_rng(0)
    gradient = {f"{name}_{hidden}": random.random((4, 8, 8, 3)) for name in ("image", "gradient") for hidden in (0, 2)}
    distances = {("rob", "cifar10"): {"train": random.random(50), "test": random.random(50)}}
    return made_shafahi.transfers(
        made_shafahi.rows(), made_shafahi.CARDS, gradients={("nat", "cifar10"): gradient, ("rob", "cifar10"): gradient}, distances=distances
    )


def test_every_section_has_its_figures(transfers):
    found = {drawing.name: drawing.draw(*drawing.arguments) for drawing in figures.drawings_of(transfers, LOOKS)}
    assert set(found) == {
        "shafahi_figure1", "shafahi_figure3", "shafahi_figure4_cifar10", "shafahi_figure4_cifar100_other", "shafahi_figure5_cifar10",
        "shafahi_learn_without_forgetting_cifar10", "shafahi_figure7",
    }  # fmt: skip
    robust, clean = found["shafahi_figure1"].axes
    assert [line.get_ydata().tolist() for line in robust.lines if len(line.get_xdata()) == 3] == [[0.5, 0.5, 0.5], [46.5, 30.5, 10.5]]
    assert sorted(line.get_ydata()[0] for line in robust.lines if len(set(line.get_ydata())) == 1 and len(line.get_ydata()) == 2) == [
        0.0,
        50.0,
    ]
    assert clean.get_title("left") == "clean images"
    assert [ax.get_title("left") for ax in found["shafahi_figure4_cifar10"].axes] == [
        "training images",
        "test images",
        "under PGD20",
        "under CW20",
    ]
    assert len(found["shafahi_figure5_cifar10"].axes[0].images) == 4 * (1 + 2 * 2)
    assert [ax.get_title("left") for ax in found["shafahi_figure7"].axes] == ["rob on cifar10"]
    assert not list(figures.drawings_of(made_shafahi.transfers(), {}))


def test_gradients_are_shown_around_grey():
    shown = figures._shown(np.array([-3.0, 0.0, 3.0, 0.0]))
    assert shown[1] == 0.5
    assert shown[0] == pytest.approx(1 - shown[2])
    assert np.isfinite(figures._shown(np.zeros((2, 2)))).all()
    assert (figures._shown(np.full((2, 2), np.nan)) == 0.5).all()
