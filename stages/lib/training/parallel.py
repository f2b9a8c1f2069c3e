"""Several processes that train one network, each with its part of every batch, to what one process makes of the whole.

torchrun starts them (`launch`, or a person on a cluster) and sets RANK, WORLD_SIZE and LOCAL_RANK. In a process of its own,
everything here does nothing. Those that `launch` starts meet through files and talk through the loopback: no other machine can
reach them.
"""

import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import psutil
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from stages.lib.errors import RunError
from stages.lib.networks.devices import local_rank

MEETING = "STAGE_MEETING_FILE"  # in the environment of processes that `launch` starts: the file through which they find one another


def processes() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """The number of this process among all, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def is_first() -> bool:
    return rank() == 0


@contextmanager
def group() -> Iterator[None]:
    """The processes that torchrun started can talk while the block runs: through NCCL on GPUs, through Gloo elsewhere."""
    where = {}  # of a person's torchrun, whose processes may be of several machines: what its environment says
    if meeting := os.environ.get(MEETING):
        threading.Thread(target=_end_with_the_stage, daemon=True).start()
        where = {"store": dist.FileStore(meeting), "rank": int(os.environ["RANK"]), "world_size": int(os.environ["WORLD_SIZE"])}
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank())
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", **where)
    try:
        yield
    finally:
        dist.destroy_process_group()


def launch(count: int, *arguments: str) -> None:
    """Run `python -m <arguments>` in `count` processes on this machine, and wait for them; they end with this process, however that ends.

    Raises:
        RunError: one line, when one of them fails; torchrun has then ended the others.
    """
    pipes = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE}
    with tempfile.TemporaryDirectory() as folder:
        meeting = ["--rdzv-backend=c10d", "--rdzv-conf=store_type=file", f"--rdzv-endpoint={folder}/torchrun", "--local-addr=127.0.0.1"]
        command = [sys.executable, "-m", "torch.distributed.run", *meeting, "--nproc-per-node", str(count), "-m", *arguments]
        environment = os.environ | _only_here() | {
            "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // count)), MEETING: f"{folder}/processes",
        }  # fmt: skip
        with subprocess.Popen(command, env=environment, text=True, errors="replace", **pipes) as running:
            why = _why_it_failed(running.stderr)
            running.stdin.close()
    if running.returncode:
        raise RunError(f"one of the {count} processes of `{' '.join(arguments)}` failed: {why}")


def _only_here() -> dict[str, str]:
    """The environment in which no process listens but on the loopback.

    Gloo and NCCL listen on one network interface, which these variables name. torchrun, with its `--standalone` too, opens a store for
    whoever trains, on all interfaces; ours meet through a file instead, and the third variable keeps that store closed.
    """
    loopback = next(
        name for name, found in psutil.net_if_addrs().items() if any(a.family == socket.AF_INET and a.address == "127.0.0.1" for a in found)
    )
    return {"GLOO_SOCKET_IFNAME": loopback, "NCCL_SOCKET_IFNAME": loopback, "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}


def _why_it_failed(lines: Iterable[str]) -> str:
    """Pass on what the processes say, and return the line in which one says what is wrong.

    Of torchrun itself one line is read, that a process failed and how; the page that follows it tells no more.
    """
    why, failed = "it said nothing", None
    for line in lines:
        failed = failed or re.search(r"failed \(exitcode: (-?\d+)\) local_rank: (\d+)", line)
        if line.startswith("error: "):
            why = line.removeprefix("error: ").strip()
        elif not failed and line.strip() and not re.match(r"[WEI]\d{4} |\*{9}|Setting OMP_NUM_THREADS", line):
            sys.stderr.write(line)
    killed = failed and failed[1].startswith("-")
    return f"process {failed[2]} was ended by signal {failed[1][1:]} from outside, as when memory is short" if killed else why


def _end_with_the_stage() -> None:
    """`launch` holds the other end of stdin, through torchrun; a stage that was killed would leave us training for nobody."""
    os.read(0, 1)
    os._exit(1)


def share(network: nn.Module) -> tuple[nn.Module, nn.Module]:
    """The network with batch norm over whole batches, and what it is trained through: itself, or its distributed wrapper."""
    if processes() == 1:
        return network, network
    device = next(network.parameters()).device
    network = nn.SyncBatchNorm.convert_sync_batchnorm(network) if device.type == "cuda" else _with_whole_batches(network)
    with warnings.catch_warnings(action="ignore", category=FutureWarning):  # newer torch calls `broadcast_buffers` by another name
        wrapper = DistributedDataParallel(network, [device] if device.type == "cuda" else None, broadcast_buffers=False)
    return network, wrapper


def own_part(batch: Tensor) -> Tensor:
    """This process's part of a batch of indices; parts differ by one index at most."""
    return batch.tensor_split(processes())[rank()]


def add_up(*values: Tensor) -> None:
    """Over all processes, in place."""
    if processes() > 1:
        for value in values:
            dist.all_reduce(value)


class _Total(torch.autograd.Function):
    """The sum over all processes; what each makes of it goes back to all of them."""

    @staticmethod
    def forward(context, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total


class WholeBatchNorm2d(nn.BatchNorm2d):
    """Batch norm whose statistics are of the images of all processes; torch's own does that on GPUs only."""

    def forward(self, x: Tensor) -> Tensor:  # [batch, C, H, W]
        if not self.training:
            return super().forward(x)
        dims, shape = (0, 2, 3), (1, -1, 1, 1)
        total, count = _Total.apply(torch.cat([x.sum(dims), x.new_tensor([x.numel() / x.shape[1]])])).tensor_split([x.shape[1]])
        mean = total / count
        centred = x - mean.view(shape)
        variance = _Total.apply((centred**2).sum(dims)) / count
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
