"""Norms, by what must hold of each whatever the images, and what is written of them."""

import subprocess
import sys

import pytest
import torch
from attacked import CASES, NORM, SEED, lengths
from hypothesis import given
from hypothesis import strategies as st

from stages.lib.norms.table import NORMS, all_norms, norm_of


@CASES
@given(norm=NORM, eps=st.floats(1e-4, 1), seed=SEED, scale=st.floats(1e-3, 10))
def test_projection_gives_the_nearest_point_of_the_ball(norm, eps, seed, scale):
    generator = torch.Generator().manual_seed(seed)
    delta = scale * torch.randn(3, 3, 4, 4, generator=generator, dtype=torch.float64)
    ball = norm_of(norm)
    projected = ball.project(delta, eps)
    assert lengths(projected, norm).max() <= eps * (1 + 1e-12)
    inside = lengths(delta, norm) <= eps
    assert torch.equal(projected[inside], delta[inside])
    for _ in range(5):
        other = ball.start(delta, eps)
        assert ((projected - delta).flatten(1).norm(dim=1) <= (other - delta).flatten(1).norm(dim=1) + 1e-12).all()


@CASES
@given(norm=NORM, seed=SEED)
def test_the_step_has_length_1_and_no_direction_of_that_length_ascends_faster(norm, seed):
    torch.manual_seed(seed)
    gradient = torch.randn(3, 3, 4, 4, dtype=torch.float64)
    step = norm_of(norm).step(gradient)
    assert torch.allclose(lengths(step, norm), torch.ones(3, dtype=torch.float64))
    gained = (step * gradient).flatten(1).sum(1)
    for _ in range(5):
        other = torch.randn_like(gradient)
        other /= lengths(other, norm).view(-1, 1, 1, 1)
        assert ((other * gradient).flatten(1).sum(1) <= gained + 1e-12).all()


@pytest.mark.parametrize("norm", NORMS)
def test_random_starts_fill_the_ball_evenly(norm):
    torch.manual_seed(0)
    like = torch.zeros(4000, 1, 1, 2)
    start = norm_of(norm).start(like, 0.5)
    found = lengths(start, norm) / 0.5
    assert found.max() <= 1 + 1e-6
    assert abs((found <= 0.5).double().mean() - 0.25) < 0.03  # half the radius holds a quarter of the area
    assert start.mean(0).abs().max() < 0.02


@pytest.mark.parametrize("norm", NORMS)
def test_the_diameter_is_the_distance_of_a_black_and_a_white_image(norm):
    assert norm_of(norm).diameter(48) == pytest.approx(lengths(torch.ones(1, 3, 4, 4), norm).item())


def test_each_norm_has_a_name_a_label_an_order_and_colours_of_its_own():
    assert [norm.name for norm in all_norms()] == list(NORMS)
    for attribute in ("label", "order", "colours", "marker"):
        assert len({getattr(norm, attribute) for norm in all_norms()}) == len(NORMS), attribute


@pytest.mark.parametrize(
    ("norm", "eps", "text", "tick"),
    [("l2", 3.0, "L2 3", "3"), ("l2", 0.25, "L2 0.25", "0.25"), ("l2", 0.0, "L2 0", "0"), ("linf", 8 / 255, "L∞ 8/255", "8/255"),
     ("linf", 0.5 / 255, "L∞ 0.5/255", "0.5/255"), ("linf", 0.0, "L∞ 0/255", "0")],
)  # fmt: skip
def test_a_radius_is_written_as_papers_write_it(norm, eps, text, tick):
    assert (norm_of(norm).eps_text(eps), norm_of(norm).tick(eps)) == (text, tick)


def test_a_name_of_no_norm_is_refused_with_those_that_there_are():
    with pytest.raises(ValueError, match=rf"norm is 'l7'; allowed: {', '.join(NORMS)}"):
        norm_of("l7")


LOADED = "import sys, stages.lib.{module}; print(*(name for name in sys.modules if name.startswith(('torch', 'stages.lib'))))"


@pytest.mark.parametrize("module", ["norms.table", "norms.l2", "norms.linf", "settings.params", "attacks.table"])
def test_settings_norms_and_the_table_of_attacks_load_no_torch(module):
    loaded = subprocess.run([sys.executable, "-c", LOADED.format(module=module)], capture_output=True, text=True, check=True).stdout.split()
    assert f"stages.lib.{module}" in loaded
    assert "torch" not in loaded
