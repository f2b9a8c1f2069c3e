"""Faster R-CNN (Ren et al. 2015) and Mask R-CNN (He et al. 2017) of torchvision, with a source as backbone."""

from dataclasses import dataclass
from typing import Any

from torch import nn
from torchvision.models.detection import FasterRCNN, MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import MultiScaleRoIAlign

from stages.lib.networks.pretrained import Pretrained
from stages.studies.salman2020.detection import backbone

RATIOS = (0.5, 1.0, 2.0)  # height over width of anchors
MAX_DETECTIONS = 100  # of an image, as COCO counts them


@dataclass(frozen=True)
class Design:
    """The sizes of what is built on a backbone."""

    channels: int  # of the pyramid
    anchors: tuple[int, ...]  # pixels a side, one for each level of the pyramid and one for the pooled level
    hidden: int  # width of the box head
    mask_layers: tuple[int, ...]  # widths of the convolutions of the mask head
    proposals: int  # that the heads see of an image in training, and at most in a test
    sampled: int  # proposals that the box head learns from, of an image
    samples: int = 2  # points in a row of a cell of a region, whose features are averaged


PUBLISHED = Design(256, (32, 64, 128, 256, 512), 1024, (256, 256, 256, 256), 2000, 512)  # torchvision's and Detectron2's
SMALL = Design(32, (10, 16, 24, 34), 128, (32,), 100, 32, samples=1)  # for images of some 100 pixels; levels at strides of 2, 4, 8, 16


def build(source: Pretrained, classes: int, how: dict[str, Any]) -> nn.Module:
    """A detector that is begun with a source, its other weights drawn from torch's generator.

    Args:
        classes: of objects; the background is one more.
        how: settings of a task.
    """
    design = SMALL if source.architecture.startswith("small_") else PUBLISHED
    body = backbone.of_source(source, design.channels, how["freeze_at"])
    sizes = tuple((side,) for side in design.anchors[: len(body.levels) + 1])
    width, tested = design.channels, min(design.proposals, 1000)
    settings = {
        "min_size": tuple(how["shorter"]), "max_size": how["longest"], "image_mean": list(source.mean), "image_std": list(source.std),
        "rpn_anchor_generator": AnchorGenerator(sizes, (RATIOS,) * len(sizes)),
        "rpn_pre_nms_top_n_train": design.proposals, "rpn_post_nms_top_n_train": design.proposals,
        "rpn_pre_nms_top_n_test": tested, "rpn_post_nms_top_n_test": tested,
        "box_roi_pool": MultiScaleRoIAlign(body.levels, 7, design.samples), "box_head": TwoMLPHead(width * 7**2, design.hidden),
        "box_predictor": FastRCNNPredictor(design.hidden, classes + 1),
        "box_batch_size_per_image": design.sampled, "box_detections_per_img": MAX_DETECTIONS,
    }  # fmt: skip
    if how["detector"] == "faster_rcnn":
        return FasterRCNN(body, **settings)
    last = design.mask_layers[-1]
    return MaskRCNN(
        body, **settings, mask_roi_pool=MultiScaleRoIAlign(body.levels, 14, design.samples),
        mask_head=MaskRCNNHeads(width, design.mask_layers, 1), mask_predictor=MaskRCNNPredictor(last, last, classes + 1),
    )  # fmt: skip
