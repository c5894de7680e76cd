"""A network on its device, on batches that fit its memory."""

from __future__ import annotations

import logging

import numpy as np
import torch
from torch import Tensor

from cloudfree.arrays import Image
from cloudfree.network.cuda_graphs import GraphedForward, capture_graph
from cloudfree.network.device import DTYPES, Precision, autocast
from cloudfree.network.models import CloudRemovalModel

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
        self._model = model.in_half(DTYPES[precision]) if self._converts else model.to(device).eval()
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


def _is_out_of_memory(error: RuntimeError) -> bool:
    """CUDA has an error of its own; CPU and MPS say it in words."""
    said = ("can't allocate memory", "MPS backend out of memory")
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in said)
