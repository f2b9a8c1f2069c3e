"""Settings: params.yaml and the two catalogs, as typed objects that refuse what they do not know.

`params.yaml` says what to run, `data/catalog.yaml` and `models/catalog.yaml` say what exists. A stage calls `section` once,
in its `main`, for its own part; the stage `check` reads everything at once, before any other stage runs.
"""

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from stages.lib.errors import RunError

PARAMS = Path("params.yaml")
DATA_CATALOG = Path("data/catalog.yaml")
MODEL_CATALOG = Path("models/catalog.yaml")


class SettingsError(RunError):
    """A setting that cannot be run: the message names the file, the key, what was found and what is allowed."""


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
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern="^[A-Za-z0-9][A-Za-z0-9_-]*$")]  # no dot: DVC would read it as a path into a section
Blocks = Annotated[int, Field(strict=True, ge=0)] | Literal["all"]
T = TypeVar("T")
OneOrMore = Annotated[list[T], BeforeValidator(lambda v: v if isinstance(v, list) else [v]), Field(min_length=1), AfterValidator(_unique)]


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


# What exists: entries of data/catalog.yaml


class Dataset(Settings):
    classes: Annotated[Count, Field(ge=2)]
    channels: Literal[1, 3]
    train: Count
    test: Count


class Procedural(Dataset):
    kind: Literal["procedural"]
    size: Annotated[int, Field(strict=True, ge=8)]
    seed: Whole
    clutter: Fraction
    texture_amplitude: Fraction


class Glyphs(Procedural):
    set: Literal["glyphs"]
    classes: Annotated[int, Field(strict=True, ge=2, le=24)]
    min_contrast: Annotated[Real, Field(ge=0, le=0.5)]
    texture_correlation: Fraction


class Textures(Procedural):
    set: Literal["textures"]


class Packaged(Dataset):
    """A file that an installed package carries."""

    kind: Literal["packaged"]
    package: str
    file: str
    sha256: Sha256
    reader: Literal["digits_csv"]
    split_seed: Whole


AnyDataset = Annotated[
    Annotated[Glyphs | Textures, Field(discriminator="set")] | Packaged,
    Field(discriminator="kind"),
]

# What exists: entries of models/catalog.yaml


class Source(Settings):
    architecture: str


class Threat(Settings):
    """The ball within which a source was (or is to be) trained adversarially; eps in pixel units of [0, 1] images."""

    norm: Literal["l2", "linf"]
    eps: NotNegative


class Trained(Source):
    kind: Literal["trained"]
    dataset: Name
    threat: Threat | None
    seed: Whole


class Fetched(Source):
    kind: Literal["fetched"]
    dataset: Name
    threat: Threat | None
    classes: Count
    address: str  # http(s)://, file://, or a path; of a safetensors file
    sha256: Sha256
    mean: Annotated[list[Real], Field(min_length=3, max_length=3)]  # of its training images, where the file has no normaliser
    std: Annotated[list[Positive], Field(min_length=3, max_length=3)]


class Random(Source):
    """No pre-training: random weights, and every weight trained on the target."""

    kind: Literal["random"]


AnySource = Annotated[Trained | Fetched | Random, Field(discriminator="kind")]

# What to run: the sections of params.yaml, one per stage


class DownloadSettings(Settings):
    timeout_s: Positive
    attempts: Count


class UpscaleSettings(Settings):
    image_size: Annotated[int, Field(strict=True, ge=8)]


class DrawSubsetsSettings(Settings):
    n_images: OneOrMore[Count]
    n_seeds: Count
    first_seed: Whole
    seed_step: Count


class Attack(Settings):
    """PGD(k) with step size alpha = c * eps / k (Utrera et al. 2021, A.2)."""

    steps: Count
    step_ratio: Annotated[Real, Field(gt=1)]


class TrainingAttack(Attack):
    step_ratio: Annotated[Real, Field(gt=1.5, lt=4)]
    eps_hold: Fraction
    eps_ramp: Fraction


class SourceSettings(Settings):
    dataset: Name
    epochs: Count
    batch_size: Count
    lr: Positive
    momentum: Annotated[Real, Field(ge=0, lt=1)]
    weight_decay: NotNegative
    warmup: Annotated[Real, Field(gt=0, lt=1)]
    attack: TrainingAttack


class KeptWeights(Settings):
    """Which cells keep their weights, for the evaluation of their robustness."""

    blocks: OneOrMore[Blocks]
    n_images: OneOrMore[Count]
    n_seeds: Whole


class FinetuneSettings(Settings):
    epochs: Count
    eval_every: Count
    batch_size: Count
    lr: Positive
    momentum: Annotated[Real, Field(ge=0, lt=1)]
    weight_decay: NotNegative
    head_init: Literal["normal", "default"]
    keep: KeptWeights


class EvaluateRobustnessSettings(Settings):
    max_images: Count
    attack: Attack
    l2: list[NotNegative]
    linf: list[NotNegative]


class Headline(Settings):
    target: Name
    n_images: Count
    blocks: Blocks


class ReportSettings(Settings):
    natural: Name
    bootstrap: Count
    headline: Headline


class TrackSettings(Settings):
    experiment: Annotated[str, Field(min_length=1)]


class Params(Settings):
    datasets: OneOrMore[Name]
    sources: OneOrMore[Name]
    targets: OneOrMore[Name]
    blocks: OneOrMore[Blocks]
    download: DownloadSettings
    upscale: UpscaleSettings
    draw_subsets: DrawSubsetsSettings
    source: SourceSettings
    finetune: FinetuneSettings
    evaluate_robustness: EvaluateRobustnessSettings
    report: ReportSettings
    track: TrackSettings


def load_params(path: Path = PARAMS) -> Params:
    return parse(Params, read_yaml(path), path)


def section(name: str, path: Path = PARAMS) -> Any:
    """One top-level key of params.yaml, as its typed object."""
    found = read_yaml(path)
    if name not in found:
        raise SettingsError(f"{path}: {name} is missing")
    field = Params.model_fields[name]
    return parse(Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation, found[name], path, name)


def dataset_entry(name: str, path: Path = DATA_CATALOG) -> Glyphs | Textures | Packaged:
    return parse(AnyDataset, entry_of(read_yaml(path), name, path), path, name)


def source_entry(name: str, path: Path = MODEL_CATALOG) -> Trained | Fetched | Random:
    return parse(AnySource, entry_of(read_yaml(path), name, path), path, name)


def entry_of(catalog: dict, name: str, path: Path) -> object:
    if name not in catalog:
        raise SettingsError(f"{path}: {name!r} is in no entry; allowed: {choices(name, catalog)}")
    return catalog[name]


def read_yaml(path: Path) -> dict:
    try:
        found = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise SettingsError(f"{path}: the file is missing") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: not UTF-8, or a date that does not exist
        raise SettingsError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(found, dict):
        raise SettingsError(f"{path}: holds {type(found).__name__}; allowed: keys with values")
    return found


def parse(kind: Any, found: object, path: Path, prefix: str = "") -> Any:
    """`found` as an object of type `kind`; raises SettingsError with one line for all that is wrong with it."""
    try:
        return TypeAdapter(kind).validate_python(found)
    except ValidationError as error:
        raise SettingsError("; ".join(dict.fromkeys(f"{path}: {_explain(e, prefix, kind)}" for e in error.errors()))) from None


def _explain(error: dict, prefix: str, kind: Any) -> str:
    """One of pydantic's errors in this project's words: key, what was found, what is allowed."""
    unknown = error["type"] == "extra_forbidden"
    *above, last = error["loc"] or ("",)
    place = [str(part) for part in above if not _names_a_union_member(part)]
    if unknown or not _names_a_union_member(last):
        place += [str(last)] if error["loc"] else []
    key = ".".join([*([prefix] if prefix else []), *place])
    if error["type"] == "missing":
        return f"{key} is missing"
    if unknown:
        return f"{key} is no known key; allowed: {choices(place[-1], _siblings(kind, error['loc'][:-1]))}"
    allowed = error["msg"].removeprefix("Value error, ").removeprefix("Input should be ").removeprefix("Input should ")
    return f"{key} is {error['input']!r}; allowed: {allowed}"


_TAGS = {"procedural", "packaged", "glyphs", "textures", "trained", "fetched", "random", "constrained-int", "int"}


def _names_a_union_member(part: str | int) -> bool:
    """Pydantic puts the member of a union that it tried into the place of an error; a reader does not look for it."""
    return isinstance(part, str) and (part in _TAGS or "[" in part)


def _siblings(kind: Any, place: tuple) -> list[str]:
    """The keys that are allowed where a key is not known, by walking the schema; empty where that is not an object."""
    schema = TypeAdapter(kind).json_schema(ref_template="{model}")
    definitions = schema.get("$defs", {})

    def resolve(node: dict) -> dict:
        return definitions[node["$ref"]] if "$ref" in node else node

    node = resolve(schema)
    for part in place:
        mapping = node.get("discriminator", {}).get("mapping", {})
        if part in mapping:
            found = mapping[part]
            node = found if isinstance(found, dict) else definitions[found]  # a union within a union has no name
            continue
        if part in node.get("properties", {}):
            node = node["properties"][part]
            options = [resolve(o) for o in node.get("anyOf", [])]
            node = resolve(next((o for o in options if "properties" in o), node))
    return list(node.get("properties", {}))


def choices(found: str, allowed: list[str] | dict) -> str:
    """All that is allowed, and the nearest to what was found."""
    names = [str(name) for name in allowed]
    close = difflib.get_close_matches(found, names, n=1)
    return ", ".join(names) + (f" (did you mean {close[0]!r}?)" if close else "")
