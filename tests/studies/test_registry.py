"""A paper is its own folder: a study with an experiment, a figure, a table and a claim is added without touching anything else."""

import shutil
import subprocess
import sys
from pathlib import Path

import made
import pandas as pd
import pytest
from repository import Repository

from stages.lib.store import tables
from stages.studies import registry

WRITTEN = ("data/checked", "models/results", "reports", ".cells", ".runs", ".dvc", "mlflow.db", "mlartifacts")  # by stages
STUDY = {
    "__init__.py": "",
    "study.py": '''"""A study that asks how far the mean images of the classes go."""

from stages.lib.runs.experiments import Run
from stages.lib.settings.fields import Count, Name, OneOrMore, Settings
from stages.studies.study import CardOf, Experiment, Study

FOLDER = "stages.studies.means2026"


class NearestMeanSettings(Settings):
    sources: OneOrMore[Name]
    targets: OneOrMore[Name]
    n_per_class: OneOrMore[Count]


def runs(settings: NearestMeanSettings, card_of: CardOf) -> list[Run]:
    return [
        Run(experiment="nearest_mean", module=f"{FOLDER}.nearest_mean", source=source, target=target, method="means", setting=n, seed=0,
            how={}, measured={})
        for source in settings.sources for target in settings.targets for n in settings.n_per_class
    ]


MEANS = Study(
    name="means2026",
    title="Means (2026)",
    report=f"{FOLDER}.report",
    experiments=(Experiment("nearest_mean", NearestMeanSettings, runs, f"{FOLDER}.nearest_mean"),),
)
''',
    "nearest_mean.py": '''"""An image belongs to the class whose mean image is nearest."""

import numpy as np

from stages.lib.datasets.sets import load


def compute(run, source, stored) -> tuple[dict[str, float], None]:
    """In a worker: the mean of the first images of each class, and the accuracy on the test images."""
    (x, y), (test_x, test_y) = ((images.astype(float), labels) for images, labels in (load(run.target, s) for s in ("train", "test")))
    labels = np.unique(y)
    means = np.stack([x[y == label][: int(run.setting)].mean(0) for label in labels])
    distances = ((test_x[:, None] - means) ** 2).sum((2, 3, 4))
    return {"clean": 100 * float((labels[distances.argmin(1)] == test_y).mean())}, None
''',
    "report.py": '''"""The part of the report about mean images."""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from stages.lib.report.evidence import Claim, over_images
from stages.lib.report.figures import drawing, facets, legend, lines
from stages.lib.report.section import Drawing, Section
from stages.lib.report.statistics import UNBOUNDED, summarise
from stages.studies.means2026.study import MEANS

TEMPLATE = Path(__file__).with_name("section.html.j2")


def section(results, settings, experiments, cards, looks) -> Section:
    if "nearest_mean" not in experiments:
        return Section(MEANS.title, TEMPLATE, context={"means": []})
    runs = experiments["nearest_mean"].runs
    table = summarise(runs, ["source", "target", "setting", "measure"], "value", UNBOUNDED)
    evidence = [over_images(f"{row.target}, {row.setting:g} images", [row.mean], [20], [1], constant=-10) for row in table.itertuples()]
    return Section(
        MEANS.title, TEMPLATE, anchors={"means2026": "Means"}, context={"means": table.to_dict("records")}, tables={"means": table},
        drawings=[Drawing("means_figure1", accuracy, (table, looks))],
        claims=[Claim("Means are better than guessing", "Table 1", "accuracy minus that of guessing", evidence, "not at all")],
        metrics={"means": {"best": float(table["mean"].max())}},
    )


@drawing
def accuracy(table: pd.DataFrame, looks) -> Figure:
    figure, [ax] = facets(1, "Accuracy of means")
    lines(ax, table, "setting", looks, "source")
    legend(figure, looks, table["source"])
    return figure
''',
    "section.html.j2": '''{% if means %}<section id="means2026"><h2>Means</h2>{{ macros.figure("means_figure1", "Nearest mean.") }}
<table>{% for row in means %}<tr><td>{{ macros.name(row.source) }}</td><td>means of {{ row.setting }}: {{ "%.1f" | format(row.mean) }}</td></tr>
{% endfor %}</table></section>{% endif %}
''',
}  # fmt: skip
PROFILE = """# Means (2026) beside a small fine-tuning.

datasets: [glyphs, digits]
models: [natural, l2_eps0_5]
sources: [natural, l2_eps0_5]
targets: [digits]
blocks: 1
experiments: [nearest_mean]

draw_subsets: {n_images: [50], n_seeds: 5}
grid: {workers: 1}
report: {headline: {n_images: 50}}

nearest_mean:
  sources: [natural, l2_eps0_5]
  targets: [digits]
  n_per_class: [1, 2]
"""


RUN = """
from contextlib import nullcontext
from stages import check, experiment, profile, report
from stages.lib.report import drawings

drawings.processes, drawings.KINDS = nullcontext, ("svg",)  # that other processes draw the same is tested beside drawings
profile.main(["means"], show=False)
check.main()
experiment.main("nearest_mean")
report.main()
"""


def add_study(folder: Path) -> None:
    """All that a new paper takes."""
    for name, content in STUDY.items():
        path = folder / "stages/studies/means2026" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    path = folder / "stages/studies/registry.py"
    text = path.read_text()
    text = text.replace("from stages.studies.question", "from stages.studies.means2026.study import MEANS\nfrom stages.studies.question", 1)
    path.write_text(text.replace("TERZI)", "TERZI, MEANS)", 1))
    (folder / "profiles/means.yaml").write_text(PROFILE)


def files_of(folder: Path) -> dict[str, bytes]:
    """What a person has written there, by its path."""
    paths = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    return {name: path.read_bytes() for name, path in paths.items() if not name.startswith(WRITTEN)}


def results_of(folder: Path) -> None:
    """Images, sources and fine-tuning runs, as the stages before leave them."""
    for name in ("glyphs", "digits"):
        made.images(folder / "data/images" / name, name, splits={"train": 20, "test": 20})
    for source, threat, above in (("natural", None, 0.0), ("l2_eps0_5", {"norm": "l2", "eps": 0.5}, 5.0)):
        made.write_source(folder, made.card(source, "trained", threat))
        rows = [(source, "digits", "1", 50, seed, epoch, 60.0 + above) for seed in range(5) for epoch in (1, 20)]
        made.runs(rows, folder / tables.finetuned(source) / "runs.parquet")
        made.no_attacks(folder / tables.robustness(source))


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> tuple[Repository, dict[str, bytes]]:
    """A copy of the project with a study more, run to its report; and the files as they were before the study came."""
    folder = tmp_path_factory.mktemp("tree")
    for name in ("stages", "profiles", "params.yaml", "dvc.yaml", "data/catalog.yaml", "models/catalog.yaml"):
        (folder / name).parent.mkdir(exist_ok=True)
        copy = shutil.copytree if (made.ROOT / name).is_dir() else shutil.copy
        copy(made.ROOT / name, folder / name)
    results_of(folder)
    before = files_of(folder)
    add_study(folder)
    repository = Repository(folder)
    repository.environment["DVC_ROOT"] = str(folder)
    repository.run(sys.executable, "-c", RUN)
    return repository, before


def test_a_new_paper_is_its_folder_a_line_of_the_registry_its_settings_and_a_profile(tree):
    repository, before = tree
    after = files_of(repository.folder)
    added = {f"stages/studies/means2026/{name}" for name in STUDY} | {"profiles/means.yaml"}
    assert after.keys() - before.keys() == added
    assert {name for name in before if after.get(name) != before[name]} == {"params.yaml", "stages/studies/registry.py"}
    old, new = (files["stages/studies/registry.py"].decode().splitlines() for files in (before, after))
    assert len(set(new) - set(old)) == 2
    assert len(set(old) - set(new)) == 1  # the tuple


def test_its_experiment_runs_and_has_a_hash_of_its_code(tree):
    repository, _ = tree
    runs = pd.read_parquet(repository.folder / "models/results/nearest_mean/runs.parquet")
    assert runs[["source", "setting", "measure"]].values.tolist() == [
        [source, n, "clean"] for source in ("natural", "l2_eps0_5") for n in (1.0, 2.0)
    ]
    assert runs["value"].between(0, 100).all()
    assert (repository.folder / "data/checked/nearest_mean").is_file()


def test_the_report_shows_its_figure_table_claim_and_metric(tree):
    repository, _ = tree
    page = repository.text("reports/report.html")
    assert 'href="#means2026"' in page
    assert 'aria-label="means figure1"' in page
    assert "means of 2.0: " in page
    assert "Means are better than guessing" in page
    claims = pd.read_csv(repository.folder / "reports/tables/claims.csv")
    assert claims["claim"].nunique() == 17
    assert claims.loc[claims["claim"] == 17, "comparison"].tolist() == ["digits, 1 images", "digits, 2 images"] * 2
    assert {"setting", "mean", "n"} <= set(pd.read_csv(repository.folder / "reports/tables/means.csv").columns)
    assert '"means"' in repository.text("reports/metrics.json")
    assert set(pd.read_csv(repository.folder / "reports/tables/experiments.csv")["experiment"]) == {"nearest_mean"}


def test_what_is_misspelt_in_its_section_is_one_line(tree):
    repository, _ = tree
    text = repository.text("params.yaml")
    (repository.folder / "params.yaml").write_text(text.replace("n_per_class", "n_per_clas"))
    done = repository.stage("check", ok=False)
    (repository.folder / "params.yaml").write_text(text)
    assert done.returncode == 1
    assert "nearest_mean.n_per_clas is no known key; allowed: " in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_every_experiment_belongs_to_one_study_and_has_one_name():
    names = [experiment.name for study in registry.STUDIES for experiment in study.experiments]
    assert sorted(names) == sorted(registry.EXPERIMENTS)
    for study in registry.STUDIES:
        folder = made.ROOT / "stages/studies" / study.name
        assert (folder / "study.py").is_file()
        assert study.report == f"stages.studies.{study.name}.report"
        for experiment in study.experiments:
            assert experiment.module.startswith(f"stages.studies.{study.name}.")
            assert experiment.module.endswith(f".{experiment.name}")
            assert (made.ROOT / f"{experiment.module.replace('.', '/')}.py").is_file()
            assert (made.ROOT / "tests/studies" / study.name / f"test_{experiment.name}.py").is_file()


def test_the_sections_of_all_studies_are_loaded_without_torch():
    """It takes seconds, and the report is made after every experiment."""
    load = (
        "from importlib import import_module; from stages import report; [import_module(each.report) for each in report.registry.STUDIES]"
    )
    seen = subprocess.run(
        [sys.executable, "-c", f"{load}; import sys; print('torch' in sys.modules)"], capture_output=True, text=True, check=True
    )
    assert seen.stdout == "False\n"
