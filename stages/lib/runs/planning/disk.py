"""Bytes of images and sources, before they are there."""

from stages.lib.datasets import catalog
from stages.lib.runs import transfers
from stages.lib.runs.costs import Kind, Sizes
from stages.lib.settings import params
from stages.lib.settings.sections import Params

CELL = 4096  # bytes of a finished run in the store, on a usual file system


def of_images(settings: Params) -> float:
    """Bytes of archives and of stored images, as far as the catalog knows their size and number."""
    entries = {name: catalog.dataset_entry(name) for name in settings.datasets}
    return sum(entry.expected_images * entry.image_bytes(name, settings.upscale) + entry.file_bytes for name, entry in entries.items())


def of_sources(settings: Params, sizes: dict[Kind, Sizes]) -> float:
    """Bytes of the sources' weights, and of the published files from which they are read."""
    of = {kind.architecture: size.network for kind, size in sizes.items()}
    entries = {name: params.source_entry(name) for name in settings.sources}
    return sum(
        transfers.n_models(settings, name) * of[entry.architecture] + (getattr(getattr(entry, "file", None), "size", None) or 0)
        for name, entry in entries.items()
    )
