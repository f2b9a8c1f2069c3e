"""Quotes hold the published numbers, of our own targets where the paper has them."""

import pytest

from stages.studies.utrera2021 import published


@pytest.mark.parametrize(
    ("quote", "parts"),
    [
        (lambda r: r.gap("l2_eps3", "natural"), ["100 images", "cifar10 51.89 − 48.49 = +3.40", "svhn 37.90 − 23.50 = +14.40"]),
        (lambda r: r.gap("linf_eps4_255", "linf_eps8_255", 800, ("kmnist",)), ["800 images", "kmnist 77.73 − 80.68 = −2.95"]),
        (lambda r: r.smallest_gap("l2_eps3", "natural"), ["59 of 60", "−0.18 (fmnist, 25,600 images)"]),
        (lambda r: r.change("l2_eps3", "natural"), ["svhn +14.40 at 100, +0.69 at 73,257 images"]),
        (lambda r: r.source_accuracy(), ["natural 76.13 %", "L2 3 57.90 %", "PGD(1) 60.29 %", "Gaussian 74.02 %"]),
        (lambda r: r.stylised(), ["L2 3 64.2 %", "natural 36.1 %"]),
    ],
)
def test_what_is_quoted_is_what_was_published(quote, parts):
    text = quote(published.load(["digits"]))
    assert all(part in text for part in parts), text


def test_our_targets_are_quoted_where_they_are_the_paper_s():
    text = published.load(["digits", "mnist", "kmnist"]).gap("l2_eps3", "natural")
    assert "mnist 83.83" in text
    assert "kmnist 51.76" in text
    assert "svhn" not in text
