"""Several processes that train one network, as `torchrun` starts them; one process is a group of its own."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from cloudfree.errors import DeviceError


@dataclass(frozen=True)
class ProcessGroup:
    """This process among all that train together: `rank` 0..world_size-1, of which rank 0 saves and reports."""

    rank: int = 0
    world_size: int = 1

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by the mean of all processes'."""
        if self.world_size > 1:
            for parameter in parameters:
                if parameter.grad is not None:
                    dist.all_reduce(parameter.grad)
                    parameter.grad /= self.world_size

    def broadcast(self, value: float) -> float:
        """The value of rank 0, for clocks differ."""
        if self.world_size == 1:
            return value
        shared: Tensor = torch.tensor(value, dtype=torch.float64)
        if dist.get_backend() == "nccl":  # it knows no tensors but those of CUDA
            shared = shared.cuda()
        dist.broadcast(shared, src=0)
        return float(shared)

    def destroy(self) -> None:
        if self.world_size > 1:
            dist.destroy_process_group()


SINGLE_PROCESS = ProcessGroup()


def local_device(device: torch.device) -> torch.device:
    """The device of this process: of `cuda` without a number, the one that torchrun gave it."""
    if str(device) == "cuda":
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return device


def init_process_group(device: torch.device) -> ProcessGroup:
    """The group that torchrun's environment speaks of, or one of this process alone.

    Raises DeviceError where several processes cannot share the device's gradients.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        return SINGLE_PROCESS
    if device.type not in ("cpu", "cuda"):
        raise DeviceError(
            f"torchrun started {world_size} processes on {device}; several train together on cpu or cuda alone: "
            "start one, without torchrun"
        )
    if device.type == "cuda":
        torch.cuda.set_device(device)
    nccl = device.type == "cuda" and dist.is_nccl_available()  # which Windows lacks
    dist.init_process_group("nccl" if nccl else "gloo")
    return ProcessGroup(dist.get_rank(), world_size)
