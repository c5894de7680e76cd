"""Several processes that train one network, as `torchrun` starts them; one process is a team of its own."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn


@dataclass(frozen=True)
class Team:
    """This process's place among all: `rank` 0..size-1, of which the first saves and speaks."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def share_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by the mean of all processes'."""
        if self.size > 1:
            for parameter in parameters:
                if parameter.grad is not None:
                    dist.all_reduce(parameter.grad)
                    parameter.grad /= self.size

    def agree(self, value: float) -> float:
        """The leader's value, for clocks differ."""
        if self.size == 1:
            return value
        shared: Tensor = torch.tensor(value, dtype=torch.float64)
        if dist.get_backend() == "nccl":
            shared = shared.cuda()
        dist.broadcast(shared, src=0)
        return float(shared)

    def leave(self) -> None:
        if self.size > 1:
            dist.destroy_process_group()


ALONE = Team()


def local_device(device: torch.device) -> torch.device:
    """The device of this process: of `cuda` without a number, the one that torchrun gave it."""
    if str(device) == "cuda":
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return device


def join(device: torch.device) -> Team:
    """The team that torchrun's environment speaks of, or a team of one."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return ALONE
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return Team(dist.get_rank(), size)
