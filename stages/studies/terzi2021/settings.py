"""The section `report.terzi2021` of params.yaml: which targets the claims of Terzi et al. (2021) speak of.

A configuration says so before its results are seen.
"""

from pydantic import Field, model_validator

from stages.lib.settings.fields import Name, Settings


class TerziSettings(Settings):
    """Targets that differ little and that differ much from what the sources have learnt; others are in tables and figures alone."""

    near: list[Name] = Field(default_factory=list)
    distant: list[Name] = Field(default_factory=list)

    @model_validator(mode="after")
    def _are_apart(self) -> "TerziSettings":
        if both := sorted({*self.near} & {*self.distant}):
            raise ValueError(f"targets that are either `near` or `distant`; both are {', '.join(both)}")
        return self
