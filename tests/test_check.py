"""What cannot be run is refused before anything runs, in one line that names file, key, what was found and what is allowed."""

import pytest
from experiments import SECTIONS, turn_on

from stages import check
from stages.lib.errors import RunError

BROUGHT = {"kind": "fetched", "architecture": "small_resnet", "dataset": "glyphs", "threat": None, "classes": 4}
BAD = {
    "misspelt key": ("params.yaml", {"finetune__epoch": 3}, ["params.yaml", "finetune.epoch", "epochs"]),
    "unknown section": ("params.yaml", {"finetun": {}}, ["params.yaml", "finetun", "finetune"]),
    "wrong type": ("params.yaml", {"finetune__epochs": "many"}, ["params.yaml", "finetune.epochs", "'many'", "integer"]),
    "unknown source": ("params.yaml", {"sources": ["natural", "naturl"]}, ["params.yaml", "sources", "'naturl'", "did you mean 'natural'"]),
    "unknown target": ("params.yaml", {"targets": ["digit"]}, ["params.yaml", "targets", "'digit'", "digits"]),
    "way of storing an unknown dataset": ("params.yaml", {"upscale": {"image_size": 16, "store": {"imagenett": "whole", "others": "native"}}}, ["params.yaml: upscale.store", "'imagenett'", "data/catalog.yaml"]),
    "unknown dataset": ("params.yaml", {"datasets": ["glyphs", "digits", "cifar"]}, ["params.yaml", "datasets", "'cifar'", "data/catalog.yaml"]),
    "too many images": ("params.yaml", {"draw_subsets__n_images": [1001]}, ["params.yaml", "draw_subsets.n_images", "1001", "10", "1000"]),
    "fewer images than classes": ("params.yaml", {"draw_subsets__n_images": [9]}, ["params.yaml", "n_images", "9", "10 (its classes)"]),
    "too many blocks": ("params.yaml", {"blocks": 10}, ["params.yaml", "blocks", "10", "small_resnet", "0 to 9"]),
    "negative blocks": ("params.yaml", {"blocks": -1}, ["params.yaml", "blocks", "-1"]),
    "L2 eps beyond the pixels": ("params.yaml", {"evaluate_robustness__l2": [0.5, 128]}, ["evaluate_robustness.l2 is 128", "0 to 27.71"]),
    "Linf eps in 1/255": ("params.yaml", {"evaluate_robustness__linf": [8]}, ["params.yaml", "evaluate_robustness.linf", "8", "less than or equal to 1"]),
    "norm that is unknown": ("params.yaml", {"evaluate_robustness__l1": [0.5]}, ["evaluate_robustness.l1 is no known key", "l2", "linf"]),
    "attack of no kind": ("params.yaml", {"evaluate_robustness__attacks__pgd20": {"kind": "bim", "steps": 3}}, ["evaluate_robustness.attacks.pgd20", "bim", "fgsm", "pgd"]),
    "attack with no steps": ("params.yaml", {"evaluate_robustness__attacks__pgd20": {"kind": "pgd", "step_ratio": 2.0}}, ["evaluate_robustness.attacks.pgd20.steps is missing"]),
    "restarts that are the same": ("params.yaml", {"evaluate_robustness__attacks__pgd20": {"kind": "pgd", "steps": 2, "step_ratio": 2.0, "restarts": 3, "random_start": False}}, ["attacks.pgd20", "restarts of 1"]),
    "eps of an experiment beyond the pixels": ("params.yaml", {"retrain__measured__eps": 8}, ["retrain.measured.eps is 8", "0 to 1"]),
    "eps of hardening beyond the pixels": ("params.yaml", {"harden__attack__eps": 5}, ["harden.attack.eps is 5", "0 to 1"]),
    "norm of an experiment": ("params.yaml", {"retrain__measured__norm": "l1"}, ["retrain.measured.norm", "'l1'", "'l2' or 'linf'"]),
    "robustness that is measured in two ways": ("params.yaml", {"harden__measured__max_images": 17}, ["harden.measured is not retrain.measured", "the same"]),
    "steps beside epochs": ("params.yaml", {"harden__natural_head__epochs": 3}, ["harden.natural_head is", "either `steps`, or `epochs`"]),
    "more pieces than there are": ("params.yaml", {"retrain__sources": ["natural"], "retrain__k": [1, 11]}, ["retrain.k: 11", "10 pieces of natural (small_resnet)", "1 to 10"]),
    "lambda_d below 0": ("params.yaml", {"learn_without_forgetting__lambda_d": [-0.1]}, ["learn_without_forgetting.lambda_d", "-0.1", "0"]),
    "a source without features": ("params.yaml", {"learn_without_forgetting__sources": ["random"]}, ["learn_without_forgetting.sources: random", "learn_without_forgetting.sources: random is random and has learnt nothing; allowed: a source that is trained or fetched"]),
    "an experiment's source that is not brought here": ("params.yaml", {"harden__sources": ["linf_eps8_255"]}, ["harden.sources", "'linf_eps8_255'", "params.yaml: models"]),
    "an experiment's target that is not brought here": ("params.yaml", {"train_heads__targets": ["cifar10"]}, ["train_heads.targets", "'cifar10'", "params.yaml: datasets"]),
    "an experiment of no study": ("params.yaml", {"experiments": ["hardn"]}, ["experiments", "'hardn'", "did you mean 'harden'"]),
    "an experiment that is named twice": ("params.yaml", {"experiments": ["harden", "harden"]}, ["experiments", "nothing twice, and 'harden' is"]),
    "an experiment without its section": ("params.yaml", {"harden": None}, ["experiments: 'harden' has no settings"]),
    "misspelt key of an experiment": ("params.yaml", {"harden__n_seed": 1}, ["harden.n_seed is no known key", "did you mean 'n_seeds'"]),
    "classes that cannot be split": ("data/catalog.yaml", {"glyphs_same__part__of": 13}, ["data/catalog.yaml: glyphs_same.part.of is 13", "24 classes cannot be split", "2 to 12"]),
    "a part that is not there": ("models/catalog.yaml", {"natural_half__part__number": 2}, ["natural_half.part", "from 0 to 1"]),
    "a resolution that is not low": ("data/catalog.yaml", {"digits__low_resolution": 16}, ["data/catalog.yaml: digits.low_resolution is 16", "1 to 15", "upscale.image_size"]),
    "a resolution of no pixel": ("data/catalog.yaml", {"digits__low_resolution": 0}, ["data/catalog.yaml", "digits.low_resolution", "0"]),
    "letters that are there twice": ("data/catalog.yaml", {"glyphs__alphabet": "ABCA"}, ["data/catalog.yaml", "glyphs", "each once", "'ABCA'"]),
    "a low resolution of no target": ("params.yaml", {"report__salman2020": {"low_resolution": {"digits": "digit"}}}, ["report.salman2020.low_resolution", "'digit'", "digits"]),
    "a texture-robust source of no entry": ("params.yaml", {"report__salman2020": {"texture_robust": ["naturl"]}}, ["report.salman2020.texture_robust", "'naturl'", "natural"]),
    "eps below 0 in an attack": ("params.yaml", {"evaluate_robustness__l2": [-0.5]}, ["params.yaml", "evaluate_robustness.l2", "-0.5", "0"]),
    "eps below 0 in a catalog": ("models/catalog.yaml", {"l2_eps0_5__threat__eps": -1}, ["models/catalog.yaml", "l2_eps0_5", "threat.eps", "-1"]),
    "step size out of range": ("params.yaml", {"source__attack__step_ratio": 4}, ["params.yaml", "source.attack.step_ratio", "4", "less than 4"]),
    "unknown norm": ("models/catalog.yaml", {"l2_eps0_5__threat__norm": "l1"}, ["models/catalog.yaml", "threat.norm", "'l1'", "'l2' or 'linf'"]),
    "unknown architecture": ("models/catalog.yaml", {"natural__architecture": "resnet51"}, ["models/catalog.yaml", "'resnet51'", "resnet50"]),
    "a source to be retrained on data that are not brought here": ("params.yaml", {"models": ["natural", "l2_eps0_5", "random", "torchvision_resnet18"], "retrain__sources": ["torchvision_resnet18"]}, ["retrain.sources", "torchvision_resnet18 has learnt imagenet", "params.yaml: datasets"]),
    "two files of one name": ("models/catalog.yaml", {"natural": BROUGHT | {"file": {"name": "w.pt", "mirrors": ["a"]}}, "l2_eps0_5": BROUGHT | {"file": {"name": "w.pt", "mirrors": ["b"]}}}, ["l2_eps0_5.file.name is 'w.pt', as that of natural, which is another file"]),
    "other source data": ("models/catalog.yaml", {"natural__dataset": "imagenet"}, ["models/catalog.yaml", "natural.dataset", "'imagenet'", "'glyphs'"]),
    "seeds from too many images on": ("params.yaml", {"draw_subsets__n_seeds": {"from_30": 2}}, ["params.yaml", "draw_subsets.n_seeds", "30", "20 or fewer"]),
    "epochs from too many images on": ("params.yaml", {"finetune__epochs": {"from_100": 2, "all": 1}}, ["params.yaml", "finetune.epochs", "100"]),
    "normalisation of no source": ("params.yaml", {"finetune__normalisation": {"naturl": "target", "others": "source"}}, ["finetune.normalisation", "'naturl'", "natural"]),
    "normalisation of no kind": ("params.yaml", {"finetune__normalisation": "both"}, ["finetune.normalisation is 'both'", "'none', 'source', 'target', 'imagenet' or 'published'"]),
    "normalisation that nobody published": ("params.yaml", {"finetune__normalisation": "published"}, ["data/catalog.yaml: digits.normalisation is missing", "`published`"]),
    "normalisation of no target": ("params.yaml", {"finetune__normalisation": {"digits": "none", "texture": "target", "others": "source"}}, ["finetune.normalisation", "'texture'", "data/catalog.yaml", "textures"]),
    "normalisation of a source and of a target": ("params.yaml", {"finetune__normalisation": {"natural": "source", "digits": "none", "others": "source"}}, ["finetune.normalisation: 'natural' is not in data/catalog.yaml"]),
    "normalisation of one target that nobody published": ("params.yaml", {"finetune__normalisation": {"digits": "published", "others": "none"}}, ["data/catalog.yaml: digits.normalisation is missing"]),
    "normalisation of two channels": ("params.yaml", {"finetune__normalisation": {"digits": {"mean": [0.5, 0.5], "std": [0.2, 0.2, 0.2]}, "others": "none"}}, ["finetune.normalisation.digits.mean", "3 items"]),
    "rates of which none is chosen": ("params.yaml", {"finetune__lr": {"random": [0.01, 0.001], "others": 0.1}}, ["finetune.lr is [0.01, 0.001], and nothing says by what one is chosen", "finetune.select", "{by: test}"]),
    "one rate twice": ("params.yaml", {"finetune__lr": [0.1, 0.1]}, ["finetune.lr", "nothing twice, and 0.1 is"]),
    "choice by validation images that are not held out": ("params.yaml", {"finetune__select": {"by": "validation"}}, ["finetune.select", "validation, such as 0.1"]),
    "choice by nothing that is known": ("params.yaml", {"finetune__select": {"by": "train"}}, ["finetune.select.by is 'train'", "'test' or 'validation'"]),
    "validation images that are more than half": ("params.yaml", {"finetune__select": {"by": "validation", "validation": 0.7}}, ["finetune.select.validation is 0.7", "less than or equal to 0.5"]),
    "augmentation of no kind": ("params.yaml", {"finetune__augmentation": "crops"}, ["finetune.augmentation is 'crops'", "'resized_crop'", "'crop_flip'"]),
    "rate of no source": ("params.yaml", {"finetune__lr": {"randm": 0.02, "others": 0.1}}, ["finetune.lr", "'randm'", "did you mean 'random'"]),
    "rate of some sources alone": ("params.yaml", {"finetune__lr": {"random": 0.02}}, ["finetune.lr is {'random': 0.02}", "{random: 0.02, others: 0.1}"]),
    "robust source of no entry": ("params.yaml", {"report__utrera2021__robust": "l3"}, ["params.yaml", "report.utrera2021.robust", "'l3'", "l2_eps0_5"]),
    "published of no source": ("params.yaml", {"report__utrera2021__published": {"natural": "nat"}}, ["params.yaml", "report.utrera2021.published", "'nat'"]),
    "published of no column": ("params.yaml", {"report__utrera2021__published": {"l2": "natural"}}, ["params.yaml", "report.utrera2021.published", "'l2'", "l2_eps3"]),
    "similar to no dataset": ("params.yaml", {"report__utrera2021__similar": ["digts"]}, ["params.yaml", "report.utrera2021.similar", "'digts'", "digits"]),
    "comparison without natural": ("params.yaml", {"sources": ["l2_eps0_5"]}, ["params.yaml", "report.natural", "'natural'", "l2_eps0_5"]),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_settings_get_one_clear_line(case, workspace):
    path, changes, named = BAD[case]
    turn_on(workspace, *SECTIONS)
    workspace.edit(path, **changes)
    with pytest.raises(RunError) as caught:
        check.main()
    line = str(caught.value)
    assert "\n" not in line
    assert not [word for word in named if word not in line], line
    assert not check.CHECKED.exists()


MIXED = ["natural", "l2_eps0_5", "random", "torchvision_resnet18"]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"blocks": 9},
        {"models": MIXED, "sources": MIXED, "blocks": 8},  # each source has its own data
        {"blocks": ["all"]},
        {"blocks": [0, 3, 9]},
        {"draw_subsets__n_images": 1000},
        {"draw_subsets__n_images": [20, "all"]},
        {"draw_subsets__n_seeds": {"from_1": 3, "all": 1}},
        {"experiments": list(SECTIONS), **SECTIONS},
        {"harden": SECTIONS["harden"] | {"sources": ["absent"]}},  # an experiment that is off
    ],
)
def test_good_settings_pass_and_leave_the_same_files(changes, workspace):
    def written() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in check.CHECKED.iterdir()}

    check.main()
    before = written()
    assert {"download", "finetune", "track"} < before.keys()
    assert len(set(before.values())) == len(before)  # each stage and each experiment has its own code
    workspace.edit("params.yaml", **changes)
    check.main()
    assert written() == before


def test_settings_that_dvc_cannot_even_read_are_named_with_their_file(workspace):
    (workspace.folder / "params.yaml").write_text("blocks: [0\n")
    with pytest.raises(RunError, match=r"params\.yaml: not YAML"):
        check.main()


def test_everything_that_is_wrong_is_said_at_once(workspace):
    workspace.edit("params.yaml", blocks=99, draw_subsets__n_images=5)
    with pytest.raises(RunError, match=r"blocks: 99.*n_images: 5"):
        check.main()


def test_a_key_that_is_there_twice_is_refused(workspace):
    path = workspace.folder / "params.yaml"
    path.write_text(path.read_text() + "\nblocks: 1\n")
    with pytest.raises(RunError, match=r"params\.yaml: not YAML: the key 'blocks' is there twice .*line"):
        check.main()
