"""A CUDA device for tests on machines without one: tensors that have a device and a shape, and no values.

Whatever would mix devices raises, and whatever would read a value from the card: that waits for all that is queued.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode


@contextlib.contextmanager
def fake_cuda(patch: pytest.MonkeyPatch) -> Iterator[FakeTensorMode]:
    """Within, tensors come to lie on "cuda:N" by `to`, and the context of a device does nothing."""
    patch.setattr("torch.cuda.device", lambda device: contextlib.nullcontext())
    patch.setattr(Tensor, "pin_memory", lambda tensor: tensor)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode, _Indexing():
        yield mode


class _Indexing(TorchFunctionMode):
    """Brackets as calls: torch built without CUDA refuses to index what lies there, were it a fake."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is Tensor.__getitem__:
            return _part(*args)
        if function is Tensor.__setitem__:
            return _check_assigned(_part(*args[:2]), args[2])
        return function(*args, **(kwargs or {}))


def _check_assigned(target: Tensor, value: Any) -> None:
    """Whether a value can be assigned; a fake has nothing that would change."""
    if isinstance(value, Tensor):
        assert value.device == target.device
        value.expand_as(target)


def _part(tensor: Tensor, index: Any) -> Tensor:
    """`tensor[index]` by whole numbers, slices, None and an ellipsis; others would travel to the card."""
    items = list(index) if isinstance(index, tuple) else [index]
    if Ellipsis in items:
        at = items.index(Ellipsis)
        items[at : at + 1] = [slice(None)] * (tensor.dim() - sum(item is not None for item in items) + 1)
    axis = 0
    for item in items:
        if item is None:
            tensor = tensor.unsqueeze(axis)
        elif isinstance(item, int):
            tensor, axis = tensor.select(axis, item), axis - 1
        else:
            assert isinstance(item, slice), f"indices travel to the card, which is waited for: {item}"
            start, stop, _ = item.indices(tensor.shape[axis])
            tensor = tensor.narrow(axis, start, stop - start)
        axis += 1
    return tensor


def moved(network: nn.Module, mode: FakeTensorMode, device: str) -> nn.Module:
    """A network whose parameters and buffers are moved to a fake device; `nn.Module.to` cannot."""
    for module in network.modules():
        for name, tensor in module._parameters.items():
            if tensor is not None:
                module._parameters[name] = nn.Parameter(mode.from_tensor(tensor.detach()).to(device), False)
        for name, tensor in module._buffers.items():
            if tensor is not None:
                module._buffers[name] = mode.from_tensor(tensor).to(device)
    return network
