"""Types of single settings: what a value may be, and how a setting may differ by the number of images."""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _number(value: object) -> object:
    """YAML 1.1 reads 1e-4 as text; YAML 1.2, which DVC writes, as a number. Both are taken for a number here."""
    if isinstance(value, bool):
        raise ValueError("Input should be a number")
    return value


def _unique(values: list) -> list:
    repeated = [v for i, v in enumerate(values) if v in values[:i]]
    if repeated:
        raise ValueError(f"Input should name nothing twice, and {repeated[0]!r} is")
    return values


Count = Annotated[int, Field(strict=True, ge=1)]
Whole = Annotated[int, Field(strict=True, ge=0)]
Real = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
Fraction = Annotated[Real, Field(ge=0, le=1)]
Positive = Annotated[Real, Field(gt=0)]
NotNegative = Annotated[Real, Field(ge=0)]
Percent = Annotated[Real, Field(ge=0, le=100)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Sha256Start = Annotated[str, Field(pattern="^[0-9a-f]{8,64}$")]  # the first digits, where no more is published
Md5 = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
Name = Annotated[str, Field(pattern="^[A-Za-z0-9][A-Za-z0-9_-]*$")]  # no dot: DVC would read it as a path into a section
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]  # no slash: it stays in its folder
Blocks = Annotated[int, Field(strict=True, ge=0)] | Literal["all"]
Size = Annotated[int, Field(strict=True, ge=1)] | Literal["all"]  # images of a subset; all: the whole training set
T = TypeVar("T")
OneOrMore = Annotated[list[T], BeforeValidator(lambda v: v if isinstance(v, list) else [v]), Field(min_length=1), AfterValidator(_unique)]


def _from_one(value: object) -> object:
    return value if isinstance(value, dict) else {1: value}


def _sizes_fit(values: dict) -> dict:
    if not values or not all(key == "all" or key >= 1 for key in values) or set(values) == {"all"}:
        raise ValueError("Input should be one value, or values under the numbers of images (from 1) from which they hold, and `all`")
    return values


def _plain(values: dict) -> Any:
    return values[1] if set(values) == {1} else {str(size): value for size, value in values.items()}


BySize = Annotated[
    dict[int | Literal["all"], T], BeforeValidator(_from_one), AfterValidator(_sizes_fit), PlainSerializer(_plain, return_type=Any)
]
"""One value, or several under the number of images from which each holds: {100: 20, 3200: 10, all: 1}."""


def by_size(values: dict[int | str, Any], n_images: int, whole: bool) -> Any:
    """The value for a subset of `n_images`; `whole` says that these are all training images.

    Raises:
        KeyError: when none holds from so few images on.
    """
    if whole and "all" in values:
        return values["all"]
    from_here = [size for size in values if size != "all" and size <= n_images]
    if not from_here:
        raise KeyError(n_images)
    return values[max(from_here)]
