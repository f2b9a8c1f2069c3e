"""Several processes that train one network, each with its part of every batch, to what one process makes of the whole.

torchrun starts them (`launch`, or a person on a cluster) and sets RANK, WORLD_SIZE and LOCAL_RANK. In a process of its own,
everything here does nothing.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.parallel import DistributedDataParallel

from stages.lib.errors import RunError


def launched() -> bool:
    """Whether torchrun started this process."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def processes() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def is_first() -> bool:
    return not dist.is_initialized() or dist.get_rank() == 0


def local_rank() -> int:
    """Which of its machine's processes this is."""
    return int(os.environ.get("LOCAL_RANK", "0")) if launched() else torch.cuda.current_device() if torch.cuda.is_initialized() else 0


@contextmanager
def group() -> Iterator[None]:
    """The processes that torchrun started can talk while the block runs: through NCCL on GPUs, through Gloo elsewhere."""
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def launch(count: int, *arguments: str) -> None:
    """Run `python -m <arguments>` in `count` processes on this machine, and wait for them.

    Raises:
        RunError: when one of them fails; torchrun has then ended the others.
    """
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count), "-m", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // count))}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as running:
        said = [line for line in running.stderr if not _of_torchrun(line) and (sys.stderr.write(line), True)]
    if running.returncode:
        why = next((line.removeprefix("error: ").strip() for line in said if line.startswith("error: ")), f"exit {running.returncode}")
        raise RunError(f"one of the {count} processes of `{' '.join(arguments)}` failed: {why}")


def _of_torchrun(line: str) -> bool:
    """Its own report of a process that failed: a page, of which our own line says what matters."""
    return "torch/distributed" in line or "elastic" in line or line.startswith(("W1", "E1", "[W", "[E"))


def share(network: nn.Module) -> tuple[nn.Module, nn.Module]:
    """The network with batch norm over whole batches, and what it is trained through: itself, or its distributed wrapper."""
    if processes() == 1:
        return network, network
    device = next(network.parameters()).device
    network = nn.SyncBatchNorm.convert_sync_batchnorm(network) if device.type == "cuda" else _with_whole_batches(network)
    wrapper = DistributedDataParallel(network, [device] if device.type == "cuda" else None, broadcast_buffers=False)
    return network, wrapper


def own_part(batch: Tensor) -> Tensor:
    """This process's part of a batch of indices; parts differ by one index at most."""
    return batch.tensor_split(processes())[dist.get_rank()] if processes() > 1 else batch


def add_up(*values: Tensor) -> None:
    """Over all processes, in place."""
    if processes() > 1:
        for value in values:
            dist.all_reduce(value)


class WholeBatchNorm2d(nn.BatchNorm2d):
    """Batch norm whose statistics are of the images of all processes; torch's own does that on GPUs only."""

    def forward(self, x: Tensor) -> Tensor:  # [batch, C, H, W]
        if not self.training:
            return super().forward(x)
        dims, shape = (0, 2, 3), (1, -1, 1, 1)
        count = all_reduce(x.new_tensor([x.numel() / x.shape[1]]))
        mean = all_reduce(x.sum(dims)) / count
        centred = x - mean.view(shape)
        variance = all_reduce((centred**2).sum(dims)) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        return centred * scale.view(shape) + self.bias.view(shape)


def _with_whole_batches(network: nn.Module) -> nn.Module:
    """The network with every batch norm replaced in place, its weights and statistics kept."""
    for module in network.modules():
        for name, child in module.named_children():
            if type(child) is nn.BatchNorm2d:
                whole = WholeBatchNorm2d(child.num_features, child.eps, child.momentum).to(child.weight)
                whole.load_state_dict(child.state_dict())
                setattr(module, name, whole)
    return network
