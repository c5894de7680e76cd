"""A network on its device, on batches that fit its memory."""

from __future__ import annotations

import logging

import numpy as np
import torch
from torch import Tensor

from cloudfree.network.device import DTYPES, Precision, ieee_float32
from cloudfree.network.models import CloudRemovalModel

_MEMORY_SHARE = 0.8  # of what is free on the device; the rest is for other users
_MAX_BATCH = 16

log = logging.getLogger(__name__)


class TileTooLargeError(Exception):
    """One tile alone does not fit the device's memory."""


class Predictor:
    """A model on its device, run on batches that fit."""

    def __init__(self, model: CloudRemovalModel, device: torch.device, precision: Precision, batch: int | None) -> None:
        """`batch` None finds the largest that fits the free memory.

        In a half precision a copy of the model is rounded once: autocast would round weights and features at each pass.
        """
        self.device = device
        self.precision = precision
        rounded = model if precision == "fp32" else model.in_half(DTYPES[precision])
        self._model = rounded.to(device).eval()
        self._batch = batch
        self._measured_of: dict[int, int] = {}

    @torch.inference_mode()
    def batch_for(self, tile: int) -> int:
        """Tiles of that side to run at once: as given, or measured with one tile on CUDA, and one elsewhere."""
        if self._batch is not None:
            return self._batch
        if tile not in self._measured_of:
            self._measured_of[tile] = self._measured_batch(tile) if self.device.type == "cuda" else 1
        return self._measured_of[tile]

    @torch.inference_mode()
    def __call__(self, *images: Tensor) -> Tensor:
        """Reflectance (N, 4, H, W) float32 from what the model takes: reflectance and backscatter, or the planes of
        `Seen`. Out of memory halves the batch, for good.

        Raises TileTooLargeError where one tile is too much.
        """
        try:
            with ieee_float32(self.device):  # in a half precision too, for the layers that are left in float32
                restored: Tensor = self._model(*images)
            return restored.float()
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
        if len(images[0]) == 1:
            raise TileTooLargeError
        self._batch = len(images[0]) // 2
        log.warning("out of memory on %s: going on with a batch of %d", self.device, self._batch)
        halves = zip(*(torch.split(image, self._batch) for image in images), strict=True)
        return torch.cat([self(*half) for half in halves])

    def _measured_batch(self, tile: int) -> int:
        free, _ = torch.cuda.mem_get_info(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_allocated(self.device)
        channels = (4, 4, 4, 4, 1, 1, 2) if self._model.planes else (4, 2)
        self(*(torch.ones(1, count, tile, tile, device=self.device) for count in channels))
        per_tile = torch.cuda.max_memory_allocated(self.device) - before
        return int(np.clip(_MEMORY_SHARE * free / max(1, per_tile), 1, _MAX_BATCH))


def _is_out_of_memory(error: RuntimeError) -> bool:
    """CUDA has an error of its own; CPU and MPS say it in words."""
    messages = ("can't allocate memory", "MPS backend out of memory")
    return isinstance(error, torch.OutOfMemoryError) or any(message in str(error) for message in messages)
