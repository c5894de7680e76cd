"""Which device a network runs on, and in which precision."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal

import torch

from cloudfree.errors import DeviceError

Precision = Literal["fp32", "bf16", "fp16"]
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""The half types by the names that commands know."""


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """Convolutions and products in a half type; nothing at all in float32."""
    # Not torch's with enabled=False: that refuses device types which it has never heard of.
    return nullcontext() if precision == "fp32" else torch.autocast(device.type, DTYPES[precision])


@contextmanager
def ieee_float32(device: torch.device) -> Iterator[None]:
    """Convolutions of float32 on CUDA in float32, where torch's default is TF32, which keeps ten bits.

    What torch is set to, for the whole process, is as before afterwards. Matrix products are left as they are set:
    torch computes them in float32 unless it is told otherwise.
    """
    if device.type != "cuda":
        yield
        return
    holder, name, exact = _setting_of_convolutions()
    before = getattr(holder, name)
    setattr(holder, name, exact)
    try:
        yield
    finally:
        setattr(holder, name, before)


def _setting_of_convolutions() -> tuple[object, str, object]:
    """Where torch keeps how cuDNN convolves float32, under which name, and what is exact there."""
    cudnn = torch.backends.cudnn
    # Where the newer setting is (torch 2.9), it alone counts, and the older may not even be read once it was used.
    return (cudnn.conv, "fp32_precision", "ieee") if hasattr(cudnn, "conv") else (cudnn, "allow_tf32", False)


def resolve_device(name: str) -> torch.device:
    """`auto`, `cpu`, `cuda`, `cuda:N` or `mps` as a device that is there. Raises DeviceError."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda", "mps"):
        raise DeviceError(f"--device is {name}; auto, cpu, cuda, cuda:N and mps are known: choose one of them")
    if device.type == "cpu":
        return device
    count = torch.cuda.device_count() if device.type == "cuda" else int(torch.backends.mps.is_available())
    if (device.index or 0) >= count:
        kind = device.type.upper()
        available = f"{count} {kind} device(s) are" if count else f"no {kind} device is"
        raise DeviceError(f"--device is {name} and {available} available here; use --device cpu or auto")
    return device


def resolve_precision(name: Precision | Literal["auto"], device: torch.device) -> Precision:
    """`auto` is bfloat16 on a processor or CUDA card that is made for it, float16 on other cards, else float32.

    Raises DeviceError.
    """
    if device.type == "mps" and name not in ("auto", "fp32"):
        raise DeviceError(f"--precision is {name} and mps computes in float32 only; use --precision fp32 or auto")
    if name != "auto":
        return name
    if bfloat16_pays(device):
        return "bf16"
    return "fp16" if device.type == "cuda" else "fp32"


def bfloat16_pays(device: torch.device) -> bool:
    """Whether a network computes faster in bfloat16 than in float32: on hardware that is made for it."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and bfloat16_instructions() is not None


def bfloat16_instructions() -> str | None:
    """By which the processor computes faster in bfloat16 than in float32; None without them, or if torch cannot tell.

    Intel's without AMX does not: its AVX-512 BF16 convolves at 0.6 of the rate of float32.
    """
    capabilities: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return None
    if capabilities.get("amx_bf16"):
        return "AMX"
    is_intel = str(capabilities.get("cpu_name")).startswith("Intel")
    return "AVX-512 BF16" if capabilities.get("avx512_bf16") and not is_intel else None
