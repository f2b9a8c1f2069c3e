"""The other side of `benchmarks.peer`: fine-tuning by the training loop of the `robustness` package, in its own environment.

`python -m benchmarks.peer_loop FOLDER` reads task.json and arrays.npz from the folder and writes results.json there. The package is
left as it is, but for calls to CUDA, which do nothing; images go through Pillow and a DataLoader, as its users do it.
"""

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision import transforms

torch.Tensor.cuda = lambda self, *arguments, **keywords: self  # before the package is imported, which binds neither
nn.Module.cuda = lambda self, *arguments, **keywords: self

from robustness.attacker import AttackerModel  # noqa: E402
from robustness.train import train_model  # noqa: E402

from stages.lib import networks  # noqa: E402


class Images(torch.utils.data.Dataset):
    """Images as Pillow holds them, resized and turned into tensors one by one."""

    def __init__(self, x: np.ndarray, y: np.ndarray, size: int):
        self.images, self.labels = [Image.fromarray(image.squeeze()).convert("RGB") for image in x], y.tolist()
        self.transform = transforms.Compose([transforms.Resize(size), transforms.CenterCrop(size), transforms.ToTensor()])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.images[i]), self.labels[i]


class Frozen(nn.Module):
    """A network whose first part keeps the statistics of the source, where the task asks for it."""

    def __init__(self, network: nn.Sequential, blocks: int, keep_statistics: bool):
        super().__init__()
        self.frozen, self.trained = networks.split(network, blocks)
        self.frozen.requires_grad_(False)
        self.keep_statistics = keep_statistics

    def train(self, mode: bool = True) -> nn.Module:
        super().train(mode)
        if self.keep_statistics:
            self.frozen.eval()
        return self

    def forward(self, x: torch.Tensor, **unused: bool) -> torch.Tensor:  # the package asks every model for its latent layer
        return self.trained(self.frozen(x))


def finetune(cell: dict, task: dict, arrays: dict[str, np.ndarray], folder: Path) -> float:
    """Test accuracy in percent after the last epoch."""
    torch.manual_seed(cell["seed"])
    weights = {name.split("/", 1)[1]: torch.from_numpy(arrays[name]) for name in arrays if name.startswith(f"{cell['source']}/")}
    network = networks.build(task["architecture"], task["classes"], [0.5] * 3, [0.25] * 3)
    networks.load(network, {name: tensor for name, tensor in weights.items() if not name.startswith("head.")}, but="head.")
    if task["head_init"] == "normal":
        nn.init.normal_(network.head.weight)
        nn.init.zeros_(network.head.bias)
    model = AttackerModel(
        Frozen(network, cell["blocks"], task["frozen_batchnorm"] == "source"), SimpleNamespace(mean=torch.zeros(3), std=torch.ones(3))
    )
    chosen = arrays[f"subset_{cell['n_images']}_{cell['seed']}"]
    sets = [
        Images(arrays["train_x"][chosen], arrays["train_y"][chosen], task["size"]),
        Images(arrays["test_x"], arrays["test_y"], task["size"]),
    ]
    loaders = [
        torch.utils.data.DataLoader(images, batch_size=task["batch_size"], shuffle=shuffle, num_workers=task["loader_workers"])
        for images, shuffle in zip(sets, (True, False), strict=True)
    ]
    seen = {}
    settings = SimpleNamespace(
        adv_train=0, adv_eval=0, epochs=task["epochs"], lr=task["lr"], momentum=task["momentum"], weight_decay=task["weight_decay"],
        step_lr=task["epochs"] // 3, step_lr_gamma=0.1, custom_lr_multiplier=None, lr_interpolation="step", log_iters=task["eval_every"],
        save_ckpt_iters=-1, mixed_precision=0, out_dir=str(folder), custom_eps_multiplier=None, eps=None, attack_lr=None,
        epoch_hook=lambda model, info: seen.update(info),
    )  # fmt: skip
    train_model(settings, model, loaders, update_params=list(network.get_submodule("head").parameters()) + [
        weight for name, weight in model.named_parameters() if ".trained." in name and ".head." not in name
    ])  # fmt: skip
    return float(seen["nat_prec1"])


def main(folder: Path) -> None:
    task, arrays = json.loads((folder / "task.json").read_text()), dict(np.load(folder / "arrays.npz"))
    torch.set_num_threads(task["threads"])
    results = []
    for cell in task["cells"]:
        started = time.perf_counter()
        accuracy = finetune(cell, task, arrays, folder)
        results.append(cell | {"seconds": time.perf_counter() - started, "accuracy": accuracy})
        print(f"{cell}: {results[-1]['seconds']:.1f} s, {accuracy:.1f} %", file=sys.stderr, flush=True)
        (folder / "results.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
