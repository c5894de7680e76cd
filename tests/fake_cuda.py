"""A CUDA device for tests on machines without one: tensors that have a device and a shape, and no values.

What would mix devices raises, and so does what would read a value from the card: that waits for all that is queued.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

_CUDA, _META = 1, 14  # of c10::DeviceType


@contextlib.contextmanager
def fake_cuda() -> Iterator[FakeTensorMode]:
    """Networks can be moved to "cuda:N"; within the mode that is yielded, all else can."""
    mode, move = FakeTensorMode(allow_non_fake_inputs=True), nn.Module.to

    def to(network: nn.Module, *args: Any, **how: Any) -> nn.Module:
        return _moved(network, mode, args[0]) if args and isinstance(args[0], torch.device) else move(network, **how)

    with pytest.MonkeyPatch.context() as patch, _guard_without_cuda():
        patch.setattr(nn.Module, "to", to)
        patch.setattr(Tensor, "pin_memory", lambda tensor: tensor)
        patch.setattr("torch.cuda.device", lambda device: contextlib.nullcontext())
        yield mode


def _moved(network: nn.Module, mode: FakeTensorMode, device: torch.device) -> nn.Module:
    """The network, whose parameters and buffers are fakes on the device now; torch's own `to` refuses fakes."""
    for module in network.modules():
        for tensors in (module._parameters, module._buffers):
            tensors.update({name: _fake(tensor, mode, device) for name, tensor in tensors.items()})
    return network


def _fake(tensor: Tensor | None, mode: FakeTensorMode, device: torch.device) -> Any:
    if tensor is None:
        return None
    with mode:
        fake = mode.from_tensor(tensor.detach()).to(device)
        return nn.Parameter(fake, requires_grad=False) if isinstance(tensor, nn.Parameter) else fake


@contextlib.contextmanager
def _guard_without_cuda() -> Iterator[None]:
    """What makes a device the current one does nothing for CUDA.

    Torch does so itself where it was built with CUDA and finds no card. Built without, it refuses; here it is given
    what it has for tensors without data.
    """
    if torch.backends.cuda.is_built():
        yield
        return
    library = next((Path(torch.__file__).parent / "lib").glob("libc10.*"))
    try:
        guards = (ctypes.c_void_p * 16).in_dll(ctypes.CDLL(str(library)), "_ZN3c104impl26device_guard_impl_registryE")
    except ValueError:
        pytest.skip("this torch has no such table")
    guards[_CUDA] = guards[_META]
    try:
        yield
    finally:
        guards[_CUDA] = None
