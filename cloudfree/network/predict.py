"""A network on its device: which one, in which precision, and on batches that fit its memory."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from cloudfree.arrays import Image
from cloudfree.errors import DeviceError
from cloudfree.network.cuda_graphs import GraphedForward, capture_graph
from cloudfree.network.models import CloudRemovalModel

Precision = Literal["fp32", "bf16", "fp16"]
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_MEMORY_SHARE = 0.4  # of what is free on the device: a CUDA graph needs as much again; the rest is for other users
_MAX_BATCH = 16

log = logging.getLogger(__name__)


class TileTooLargeError(Exception):
    """One tile alone does not fit the device's memory."""


class Predictor:
    """A model on its device, run on batches that fit."""

    def __init__(self, model: CloudRemovalModel, device: torch.device, precision: Precision, batch: int | None) -> None:
        """`batch` None finds the largest that fits the free memory."""
        self.device = device
        self.precision = precision
        # On CUDA autocast rounds; on a processor, a copy of the model that is rounded once.
        self._converts = device.type == "cpu" and precision != "fp32"
        self._model = model.in_half(_DTYPES[precision]) if self._converts else model.to(device).eval()
        self._batch = batch
        self._forward = GraphedForward(self._model_forward, capture_graph if device.type == "cuda" else None)

    @torch.inference_mode()
    def batch_for(self, tile: int) -> int:
        """Tiles to run at once; where it is not given, measured with one tile on CUDA, and one elsewhere."""
        if self._batch is None:
            self._batch = self._measured_batch(tile) if self.device.type == "cuda" else 1
        return self._batch

    @torch.inference_mode()
    def __call__(self, optical: Tensor, sar_db: Tensor) -> Tensor:
        """Reflectance (N, 4, H, W) float32. Out of memory gives up graphs, then halves the batch, each for good.

        Raises TileTooLargeError where one tile is too much.
        """
        try:
            return self._forward(optical, sar_db)
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
        if self._forward.release():
            return self(optical, sar_db)  # what graphs held may be enough
        if len(optical) == 1:
            raise TileTooLargeError
        self._batch = len(optical) // 2
        log.warning("out of memory on %s: going on with a batch of %d", self.device, self._batch)
        halves = zip(torch.split(optical, self._batch), torch.split(sar_db, self._batch), strict=True)
        return torch.cat([self(*half) for half in halves])

    def image(self, reflectance: Image, sar_db: Image) -> Image:
        """Reflectance (4, H, W) of one image, from arrays to an array."""
        inputs = (torch.from_numpy(image)[None].to(self.device) for image in (reflectance, sar_db))
        restored: Image = self(*inputs)[0].cpu().numpy()
        return restored

    def _model_forward(self, optical: Tensor, sar_db: Tensor) -> Tensor:
        with autocast(self.device, "fp32" if self._converts else self.precision):
            reflectance: Tensor = self._model(optical, sar_db)
        return reflectance.float()

    def _measured_batch(self, tile: int) -> int:
        free, _ = torch.cuda.mem_get_info(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_allocated(self.device)
        self(torch.zeros(1, 4, tile, tile, device=self.device), torch.zeros(1, 2, tile, tile, device=self.device))
        per_tile = torch.cuda.max_memory_allocated(self.device) - before
        return int(np.clip(_MEMORY_SHARE * free / max(1, per_tile), 1, _MAX_BATCH))


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """Convolutions and products in a half type; nothing at all in float32."""
    # Not torch's with enabled=False: that refuses device types which it has never heard of.
    return nullcontext() if precision == "fp32" else torch.autocast(device.type, _DTYPES[precision])


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
        found = f"{count} {kind} device(s) are" if count else f"no {kind} device is"
        raise DeviceError(f"--device is {name} and {found} available here; use --device cpu or auto")
    return device


def resolve_precision(name: Precision | Literal["auto"], device: torch.device) -> Precision:
    """`auto` is bfloat16 on a processor or CUDA card that is made for it, float16 on other cards, else float32.

    Raises DeviceError.
    """
    if device.type == "mps" and name not in ("auto", "fp32"):
        raise DeviceError(f"--precision is {name} and mps computes in float32 only; use --precision fp32 or auto")
    if name != "auto":
        return name
    if device.type == "cpu":
        return "bf16" if bfloat16_instructions() else "fp32"
    if device.type != "cuda":
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported() else "fp16"


def bfloat16_instructions() -> str | None:
    """By which the processor computes faster in bfloat16 than in float32; None without them, or if torch cannot tell.

    Intel's without AMX does not: its AVX-512 BF16 convolves at 0.6 of the rate of float32.
    """
    told: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return None
    if told.get("amx_bf16"):
        return "AMX"
    is_intel = str(told.get("cpu_name")).startswith("Intel")
    return "AVX-512 BF16" if told.get("avx512_bf16") and not is_intel else None


def _is_out_of_memory(error: RuntimeError) -> bool:
    """CUDA has an error of its own; CPU and MPS say it in words."""
    said = ("can't allocate memory", "MPS backend out of memory")
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in said)
