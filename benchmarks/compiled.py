"""The Triton kernels compiled for cards that are not here, and what they would take of a multiprocessor there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cloudfree.network import kernels
from cloudfree.network.models import AlignCR, AlignCRConfig
from cloudfree.network.models.alignment import DeformablePack
from cloudfree.network.models.blocks import DynamicFilter, TwoStreamSwinBlock

SIZES = {"published": AlignCRConfig(), "small": AlignCR.small}
PRECISIONS = ("float32", "bfloat16", "float16")

# By compute capability: KiB of shared memory and warps of a multiprocessor (CUDA C++ Programming Guide, "Technical
# Specifications per Compute Capability"). All have 65,536 registers, which warps take by 256.
MULTIPROCESSORS = {
    75: (64, 32),
    80: (164, 64),
    86: (100, 48),
    89: (100, 48),
    90: (228, 64),
    100: (228, 64),
    120: (100, 48),
}
_REGISTERS, _REGISTERS_BY = 65_536, 256
_SIDE = 16  # of the feature map: sides, strides and counts divide by 16, as those of whole tiles do


@dataclass(frozen=True)
class CompiledKernel:
    """What one block takes: registers a thread, bytes of shared memory, bytes of stack a thread (what was spilled)."""

    name: str
    registers: int
    shared_bytes: int
    stack_bytes: int
    warps: int
    tf32: bool

    def blocks(self, capability: int) -> int:
        """How many fit a multiprocessor at once."""
        shared_kib, warps = MULTIPROCESSORS[capability]
        of_a_warp = -(-32 * self.registers // _REGISTERS_BY) * _REGISTERS_BY
        reserved = 1024 if capability >= 80 else 0  # of each block, by the system
        return min(
            _REGISTERS // (of_a_warp * self.warps),
            warps // self.warps,
            shared_kib * 1024 // max(1, self.shared_bytes + reserved),
        )


def missing() -> str | None:
    """What is needed to compile and is not here."""
    try:
        import triton  # noqa: F401, PLC0415
    except ImportError:
        return "Triton"
    return None if _cuobjdump() else "cuobjdump, which Triton's wheels bring"


def compile_kernels(size: str, precision: str, capability: int, *, backward: bool = True) -> list[CompiledKernel]:
    """The kernels as the layers of Align-CR launch them, those of the backward pass too if it is wanted.

    Nothing runs on a card, and the layers see what memory held. Raises what the compiler raises.
    """
    os.environ[kernels.VARIABLE] = "triton"
    made: list[CompiledKernel] = []
    _pretend(capability, made)
    for layer, has_backward in _layers(SIZES[size]):
        inputs = [_zeros(SIZES[size].width, precision) for _ in range(2)]
        out = layer.to(getattr(torch, precision))(*inputs)
        if backward and has_backward:
            out.backward(torch.zeros_like(out))
    return made


def _layers(config: AlignCRConfig) -> list[tuple[torch.nn.Module, bool]]:
    """Of one Align-CR, and whether their backward pass has kernels: that of attention is torch's own."""
    block = partial(TwoStreamSwinBlock, config.width, config.window, config.heads, config.mlp_ratio)
    layers = DeformablePack(config.width, config.deformable_groups), DynamicFilter(config.width, config.filter_size)
    attention = (block(shifted=shifted) for shifted in (False, True))
    every = [*((layer, True) for layer in layers), *((layer, False) for layer in attention)]
    return [(layer.to(memory_format=torch.channels_last), backward) for layer, backward in every]  # type: ignore[call-overload]


def _zeros(width: int, precision: str) -> Tensor:
    """Two images, so that no stride is like another by chance."""
    image = torch.zeros(2, width, _SIDE, _SIDE, dtype=getattr(torch, precision))
    return image.to(memory_format=torch.channels_last).requires_grad_()


def _pretend(capability: int, made: list[CompiledKernel]) -> None:
    """From now on this process launches nothing: it compiles for a card of that capability, and notes what it made."""
    from triton.backends.compiler import GPUTarget  # noqa: PLC0415
    from triton.runtime import driver  # noqa: PLC0415
    from triton.runtime.jit import JITFunction  # noqa: PLC0415

    class Driver:
        get_current_device = get_current_stream = lambda self, *arguments: capability
        get_current_target = lambda self: GPUTarget("cuda", capability, 32)  # noqa: E731

    driver.set_active(Driver())
    run: Callable[..., Any] = getattr(JITFunction, "run_of_triton", JITFunction.run)
    JITFunction.run_of_triton = run

    def compile_only(kernel: Any, *arguments: Any, warmup: bool, **others: Any) -> None:
        del warmup
        compiled = run(kernel, *arguments, warmup=True, **others)
        variant = "".join(f", {flag.lower()}" for flag in ("TRANSPOSED", "SHIFTED") if others.get(flag))
        made.append(_measured(f"{kernel.fn.__module__.split('.')[-1]}.{kernel.__name__}{variant}", compiled))

    JITFunction.run = compile_only


def _measured(name: str, compiled: Any) -> CompiledKernel:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        command = [str(_cuobjdump()), "--dump-resource-usage", file.name]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = {key: int(value) for key, value in re.findall(r"\b(REG|STACK|LOCAL):(\d+)", told)}
    stack = max(found["STACK"], found["LOCAL"])
    metadata = compiled.metadata
    return CompiledKernel(name, found["REG"], metadata.shared, stack, metadata.num_warps, "tf32" in compiled.asm["ptx"])


def _cuobjdump() -> str | None:
    import triton  # noqa: PLC0415

    return shutil.which("cuobjdump", path=str(Path(triton.__file__).parent / "backends/nvidia/bin")) or shutil.which(
        "cuobjdump"
    )
