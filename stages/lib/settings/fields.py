"""Types of single settings: what a value may be, and how a setting may differ by the number of images, or by source."""

import re
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _number(value: object) -> object:
    """The value as it is; raises ValueError for true and false. Text passes: YAML 1.1 reads 1e-4 as text, YAML 1.2 as a number."""
    if isinstance(value, bool):
        raise ValueError("Input should be a number")
    return value


def bounded(most: int, least: int = 1) -> Any:
    """The type of an integer from `least` to `most`."""
    return Annotated[int, Field(strict=True, ge=least, le=most)]


def unique(values: list) -> list:
    """The list as it is; raises ValueError where a value is in it twice."""
    repeated = [v for i, v in enumerate(values) if v in values[:i]]
    if repeated:
        raise ValueError(f"Input should name nothing twice, and {repeated[0]!r} is")
    return values


MOST = 1_000_000_000  # of anything that is counted: far above what computes, and far below what overflows
MOST_PIXELS = 2048  # a side of an image, which takes 50 MB then as the input of a network
LAST_SEED = 2**32 - 1  # that NumPy's RandomState takes

Count = Annotated[int, Field(strict=True, ge=1, le=MOST)]
Whole = Annotated[int, Field(strict=True, ge=0, le=MOST)]
Seed = Annotated[int, Field(strict=True, ge=0, le=LAST_SEED)]
Real = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
Fraction = Annotated[Real, Field(ge=0, le=1)]
Positive = Annotated[Real, Field(gt=0)]
NotNegative = Annotated[Real, Field(ge=0)]
Percent = Annotated[Real, Field(ge=0, le=100)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Sha256Start = Annotated[str, Field(pattern="^[0-9a-f]{8,64}$")]  # the first digits, where no more is published
Md5 = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
Name = Annotated[str, Field(pattern="^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=64)]
"""A name that files and stages are called by; it has no dot, which DVC would read as a path into a section."""
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]  # no slash: it stays in its folder
Blocks = Annotated[int, Field(strict=True, ge=0)] | Literal["all"]
TrainedPart = Blocks | Literal["norms", "last_norm"]  # `networks.layers.cuts` says what these train
Size = Annotated[int, Field(strict=True, ge=1)] | Literal["all"]  # images of a subset; all: the whole training set
T = TypeVar("T")


def _as_list(value: object) -> object:
    """A single value, and several in one text with commas between them, as a list: `0,1,3` takes one line of params.yaml."""
    if isinstance(value, str) and "," in value:
        return [int(item) if item.strip().isdecimal() else item.strip() for item in value.split(",")]
    return value if isinstance(value, list) else [value]


AnyNumber = Annotated[list[T], BeforeValidator(_as_list), AfterValidator(unique)]
OneOrMore = Annotated[AnyNumber[T], Field(min_length=1)]
Rates = OneOrMore[Positive]  # learning rates, of which one is chosen


class Moments(Settings):
    """Mean and standard deviation of each of three channels, of pixels in [0, 1]."""

    mean: Annotated[list[Fraction], Field(min_length=3, max_length=3)]
    std: Annotated[list[Positive], Field(min_length=3, max_length=3)]


def is_by_size(value: dict) -> bool:
    """Whether the keys of a mapping are numbers of images, from which on its values hold."""
    return bool(value) and all(_is_size(key) for key in value)


def _is_size(key: object) -> bool:
    return re.fullmatch("all|from_[1-9][0-9]*", str(key)) is not None


def _sizes(value: object) -> object:
    """`from_100` becomes 100: DVC cannot sort keys of which some are numbers."""
    if not isinstance(value, dict):
        return {1: value}
    keys = {key: key if key == "all" else int(key[5:]) for key in value if _is_size(key)}
    if len(keys) < len(value) or not set(keys) - {"all"}:
        raise ValueError("Input should be one value, or several as {from_100: 20, from_3200: 10, all: 1}, by numbers of images")
    return {keys[key]: item for key, item in value.items()}


def _plain(values: dict) -> Any:
    return values[1] if set(values) == {1} else {size if size == "all" else f"from_{size}": value for size, value in values.items()}


BySize = Annotated[dict[int | Literal["all"], T], BeforeValidator(_sizes), PlainSerializer(_plain, return_type=Any)]
"""One value, or several with the number of images from which each holds: {from_100: 20, from_3200: 10, all: 1}."""


def by_size(values: dict[int | str, Any], n_images: int, whole: bool) -> Any:
    """The value for a subset of `n_images`; `whole` says that these are all training images.

    Raises:
        KeyError: when every value holds only for larger subsets.
    """
    if whole and "all" in values:
        return values["all"]
    from_here = [size for size in values if size != "all" and size <= n_images]
    if not from_here:
        raise KeyError(n_images)
    return values[max(from_here)]


OTHERS = "others"  # in the place of a name: all sources, or all targets, that are not named


def is_by_source(value: dict) -> bool:
    """Whether a mapping holds a value for each source, or for each target."""
    return OTHERS in value


def _sources(value: object) -> object:
    if not isinstance(value, dict):
        return {OTHERS: value}
    if not is_by_source(value):
        raise ValueError(f"Input should be one value, or several as {{random: 0.02, {OTHERS}: 0.1}}, by names of sources or of targets")
    return value


def _plain_by_source(values: dict) -> Any:
    plain = {name: value[0] if isinstance(value, list) and len(value) == 1 else value for name, value in values.items()}
    return plain[OTHERS] if set(plain) == {OTHERS} else plain


BySource = Annotated[dict[Name, T], BeforeValidator(_sources), PlainSerializer(_plain_by_source, return_type=Any)]
"""One value, or several by names of sources, {random: 0.02, others: 0.1}, or of targets, where a setting may differ by these."""


def by_source(values: dict[str, T], source: str, target: str = OTHERS) -> T:
    """The value for a source; with a target, that for the source on this target. `check` refuses values for both kinds of names."""
    return values.get(source, values.get(target, values[OTHERS]))
