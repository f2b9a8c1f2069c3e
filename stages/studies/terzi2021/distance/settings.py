"""The section `measure_distance` of params.yaml: how far targets are from the data of sources (Terzi et al. 2021, Figures 3, 7 and 8)."""

from stages.lib.settings.fields import Count, Name, OneOrMore, Settings


class MeasureDistanceSettings(Settings):
    sources: OneOrMore[Name]  # whose features and whose data; each of their models
    targets: OneOrMore[Name]
    least: Count  # training images of a class of the source, which is left out where it has fewer (Cui et al. 2018: 200)
    per_class: Count | None = None  # images whose features make the mean of a class: the first ones; None: all
