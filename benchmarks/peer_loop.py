"""The other side of `benchmarks.peer`: one fine-tuning run by the training loop of the `robustness` package, in its own environment.

`python -m benchmarks.peer_loop FOLDER` reads task.json from the folder and the arrays that all runs share from two folders above,
and writes result.json. The package is left as it is, but for calls to CUDA, which do nothing; images go through Pillow and a
DataLoader, as its users do it.
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

torch.Tensor.cuda = lambda self, *arguments, **keywords: self  # before the package is imported
nn.Module.cuda = lambda self, *arguments, **keywords: self

from robustness import train  # noqa: E402 - after the two lines above
from robustness.attacker import AttackerModel  # noqa: E402

from stages.lib.networks import units  # noqa: E402


class Images(torch.utils.data.Dataset):
    """Images as Pillow holds them, resized and turned into tensors one by one, after the published augmentation where that is asked for."""

    def __init__(self, x: np.ndarray, y: np.ndarray, size: int, augmented: bool):
        self.images, self.labels = [Image.fromarray(image.squeeze()).convert("RGB") for image in x], y.tolist()
        changes = [
            transforms.RandomCrop(size, padding=4), transforms.RandomHorizontalFlip(), transforms.ColorJitter(0.25, 0.25, 0.25),
            transforms.RandomRotation(2),
        ]  # fmt: skip
        to_size = [transforms.Resize(size), transforms.CenterCrop(size)]
        self.transform = transforms.Compose([*to_size, *(changes if augmented else []), transforms.ToTensor()])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.images[i]), self.labels[i]


class Cut(nn.Module):
    """A network whose first part keeps its weights, and the statistics of the source unless they are to be those of each batch."""

    def __init__(self, network: nn.Sequential, blocks: int, frozen_batchnorm: str):
        super().__init__()
        self.frozen, self.trained = units.split(network, blocks)
        self.frozen.requires_grad_(False)
        self.keeps_statistics = frozen_batchnorm == "source"

    def train(self, mode: bool = True) -> nn.Module:
        super().train(mode)
        if self.keeps_statistics:
            self.frozen.eval()
        return self

    def forward(self, x: torch.Tensor, **unused: bool) -> torch.Tensor:  # the package asks every model for its latent layer
        return self.trained(self.frozen(x))


def network_of(task: dict, arrays: dict[str, np.ndarray]) -> AttackerModel:
    torch.manual_seed(task["seed"])
    prefix = f"{task['source']}/"
    weights = {name.removeprefix(prefix): torch.from_numpy(arrays[name]) for name in arrays if name.startswith(prefix)}
    network = units.build(task["architecture"], task["classes"], [0.5] * 3, [0.25] * 3)
    if weights:
        units.load(network, {name: tensor for name, tensor in weights.items() if not name.startswith("head.")}, but="head.")
    nn.init.normal_(network.head.weight)
    nn.init.zeros_(network.head.bias)
    network_normalises = SimpleNamespace(mean=torch.zeros(3), std=torch.ones(3))
    return AttackerModel(Cut(network, task["blocks"], task["frozen_batchnorm"]), network_normalises)


def loaders_of(task: dict, arrays: dict[str, np.ndarray]) -> list[torch.utils.data.DataLoader]:
    chosen = arrays[f"subset_{task['n_images']}_{task['seed']}"]
    training = Images(arrays["train_x"][chosen], arrays["train_y"][chosen], task["size"], task["augmentation"] == "published")
    test = Images(arrays["test_x"], arrays["test_y"], task["size"], augmented=False)
    return [torch.utils.data.DataLoader(x, batch_size=task["batch_size"], shuffle=x is training) for x in (training, test)]


def finetune(task: dict, arrays: dict[str, np.ndarray], folder: Path) -> float:
    """Fine-tune a network; returns its test accuracy in percent after the last epoch."""
    model, seen = network_of(task, arrays), {}
    settings = SimpleNamespace(
        adv_train=0, adv_eval=0, epochs=task["epochs"], lr=task["lr"], momentum=task["momentum"], weight_decay=task["weight_decay"],
        step_lr=task["epochs"] // 3, step_lr_gamma=0.1, custom_lr_multiplier=None, lr_interpolation="step", log_iters=task["eval_every"],
        save_ckpt_iters=-1, mixed_precision=0, out_dir=str(folder), custom_eps_multiplier=None, eps=None, attack_lr=None,
        epoch_hook=lambda model, info: seen.update(info),
    )  # fmt: skip
    train.train_model(settings, model, loaders_of(task, arrays), update_params=[w for w in model.parameters() if w.requires_grad])
    return float(seen["nat_prec1"])


def watched() -> dict[str, list[float]]:
    """Let each pass of the package over a set of images add its seconds of the processor, under `train` or `val`."""
    seconds, loop = {"train": [], "val": []}, train._model_loop

    def timed(settings: object, kind: str, *arguments: object, **keywords: object) -> tuple[float, float]:
        started = time.process_time()
        result = loop(settings, kind, *arguments, **keywords)
        seconds[kind].append(time.process_time() - started)
        return result

    train._model_loop = timed
    return seconds


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    parts = watched()
    task, arrays = json.loads((folder / "task.json").read_text()), dict(np.load(folder.parent.parent / "arrays.npz"))
    started = time.perf_counter()
    accuracy = finetune(task, arrays, folder)
    seconds = time.perf_counter() - started
    result = {name: task[name] for name in ("source", "n_images", "seed")} | {"seconds": seconds, "accuracy": accuracy, "parts": parts}
    (folder / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
