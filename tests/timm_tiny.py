"""Tiny networks of the families of timm that sources are of, under names of their own, and their weights in the formats of their authors.

Importing this enters them in timm's registry, as packages of networks do.
"""

from collections.abc import Callable

import checkpoints as made
import torch
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.convnext import ConvNeXt
from timm.models.resnet import BasicBlock, ResNet
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from timm.models.volo import VOLO
from timm.models.xcit import Xcit
from torch import Tensor, nn

SIZE, CLASSES, MEAN, STD = 32, 5, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
HEADS = {
    "tiny_vit": "head",
    "tiny_convnext": "head.fc",
    "tiny_swin": "head.fc",
    "tiny_xcit": "head",
    "tiny_resnet": "fc",
    "tiny_volo": "head",
}
default_cfgs = generate_default_cfgs(
    {f"{name}.tests": {"input_size": (3, SIZE, SIZE), "num_classes": CLASSES, "mean": MEAN, "std": STD, "classifier": head, "url": "file:///nowhere"}
     for name, head in HEADS.items()}
    | {"tiny_dinov2.tests": {"input_size": (3, 56, 56), "num_classes": 0, "mean": MEAN, "std": STD, "classifier": "head", "url": "file:///nowhere"}}
)  # fmt: skip


def _built(kind: type[nn.Module], name: str, pretrained: bool, own: dict, given: dict) -> nn.Module:
    return build_model_with_cfg(kind, name, pretrained, **(own | given))


@register_model
def tiny_vit(pretrained=False, **given):
    return _built(
        VisionTransformer, "tiny_vit", pretrained, {"img_size": SIZE, "patch_size": 16, "embed_dim": 24, "depth": 3, "num_heads": 2}, given
    )


@register_model
def tiny_dinov2(pretrained=False, **given):
    own = {"img_size": 56, "patch_size": 14, "embed_dim": 24, "depth": 2, "num_heads": 2, "init_values": 0.1, "reg_tokens": 2}
    return _built(VisionTransformer, "tiny_dinov2", pretrained, own, given)


@register_model
def tiny_convnext(pretrained=False, **given):
    return _built(ConvNeXt, "tiny_convnext", pretrained, {"depths": (1, 1, 1, 2), "dims": (8, 8, 8, 16)}, given)


@register_model
def tiny_swin(pretrained=False, **given):
    own = {"img_size": SIZE, "patch_size": 2, "window_size": 4, "embed_dim": 8, "depths": (2, 2), "num_heads": (1, 2)}
    return _built(SwinTransformer, "tiny_swin", pretrained, own, given)


@register_model
def tiny_xcit(pretrained=False, **given):
    own = {
        "img_size": SIZE,
        "patch_size": 8,
        "embed_dim": 16,
        "depth": 2,
        "num_heads": 2,
        "cls_attn_layers": 2,
        "eta": 1.0,
        "tokens_norm": True,
    }
    return _built(Xcit, "tiny_xcit", pretrained, own, given)


@register_model
def tiny_resnet(pretrained=False, **given):
    return _built(ResNet, "tiny_resnet", pretrained, {"block": BasicBlock, "layers": (1, 1, 1, 1), "channels": (8, 8, 16, 16)}, given)


@register_model
def tiny_volo(pretrained=False, **given):
    """Its blocks are of two kinds with a change of layout between them."""
    own = {
        "layers": (1, 1),
        "img_size": SIZE,
        "embed_dims": (8, 16),
        "num_heads": (1, 2),
        "downsamples": (True, False),
        "outlook_attention": (True, False),
    }
    return _built(VOLO, "tiny_volo", pretrained, own, given)


def filled(network: nn.Module, seed: int = 0) -> nn.Module:
    """The network in eval mode with weights that all matter: no scale is near 0, and no statistic is as batch norm begins."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, tensor in network.named_parameters():
            tensor.copy_(torch.randn(tensor.shape) * 0.2 + (1 if tensor.ndim == 1 and name.endswith("weight") else 0))
        for name, buffer in network.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.copy_(torch.rand(buffer.shape) + 0.5)
    return network.eval()


# Formats of the authors


def as_older_swin(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """As Swin's authors, and so Liu et al. (2023), name them: a stage ends with its downsampling, the head is one layer, and masks are stored."""
    renamed = {}
    for name, tensor in state.items():
        at = name.split(".")
        earlier = f"layers.{int(at[1]) - 1}.{'.'.join(at[2:])}" if name.startswith("layers.") and at[2] == "downsample" else name
        renamed[earlier.replace("head.fc.", "head.")] = tensor
    return renamed | {"layers.0.blocks.1.attn_mask": torch.zeros(16, 16, 16)}


def as_older_xcit(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """As XCiT's authors name them: one matrix makes queries, keys and values of the class attention, and another name for positions."""
    renamed = {name.replace("pos_embed.", "pos_embeder."): tensor for name, tensor in state.items()}
    for part in ("weight", "bias"):
        for block in (0, 1):
            place = f"cls_attn_blocks.{block}.attn"
            if f"{place}.q.{part}" in renamed:
                renamed[f"{place}.qkv.{part}"] = torch.cat([renamed.pop(f"{place}.{which}.{part}") for which in "qkv"])
    return renamed


FORMATS: dict[str, Callable[[dict[str, Tensor]], bytes]] = {
    "timm": made.torch_bytes,
    "liu2023": lambda state: made.torch_bytes({"epoch": 7, "state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}),
    "singh2023": lambda state: made.torch_bytes({f"module.base_model.{name}": tensor for name, tensor in state.items()}),
    "robustbench": lambda state: made.torch_bytes(
        {f"model.{name}": tensor for name, tensor in state.items()}
        | {"normalize.mean": torch.tensor(MEAN).view(1, 3, 1, 1), "normalize.std": torch.tensor(STD).view(1, 3, 1, 1)}
    ),
    "debenedetti2022": lambda state: made.torch_bytes({"epoch": 109, "arch": "xcit", "model": state, "args": torch.Generator}),
}
