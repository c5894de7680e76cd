"""The network over a scene: strips of rows in, blended reflectance of finished rows out, on any device."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cloudfree.errors import DeviceError
from cloudfree.fill import Mode, Strip
from cloudfree.models import CloudRemovalModel
from cloudfree.planet import Scene, has_data
from cloudfree.prior import ScenePrior, primed
from cloudfree.tiles import Span

Precision = Literal["fp32", "bf16", "fp16"]
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_MEMORY_SHARE = 0.8  # of what is free on the device; the rest is for fragmentation and other users
_MAX_BATCH = 16

log = logging.getLogger(__name__)


class TileTooLargeError(Exception):
    """One tile alone does not fit the device's memory."""


@dataclass(frozen=True)
class Filler:
    """What the network sees where there is no data: the scene's typical reflectance (4,) and backscatter (2,) in dB."""

    reflectance: NDArray[np.float32]
    sar_db: NDArray[np.float32]


class Predictor:
    """A model on its device, run on batches that fit."""

    def __init__(self, model: CloudRemovalModel, device: torch.device, precision: Precision, batch: int | None) -> None:
        """`batch` None finds the largest that fits the free memory."""
        self.device = device
        self.precision = precision
        self._model = model.to(device).eval()
        self._batch = batch

    @torch.inference_mode()
    def batch_for(self, tile: int) -> int:
        """Tiles to run at once; where it is not given, measured with one tile on CUDA, and one on CPU."""
        if self._batch is None:
            self._batch = self._measured_batch(tile) if self.device.type == "cuda" else 1
        return self._batch

    @torch.inference_mode()
    def __call__(self, optical: Tensor, sar_db: Tensor) -> Tensor:
        """Reflectance (N, 4, H, W) float32. Out of memory halves the batch for good; TileTooLargeError at one tile."""
        try:
            return self._forward(optical, sar_db)
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
        if len(optical) == 1:
            raise TileTooLargeError
        self._batch = len(optical) // 2
        log.warning("out of memory on %s: going on with a batch of %d", self.device, self._batch)
        halves = zip(torch.split(optical, self._batch), torch.split(sar_db, self._batch), strict=True)
        return torch.cat([self(*half) for half in halves])

    def _forward(self, optical: Tensor, sar_db: Tensor) -> Tensor:
        enabled = self.precision != "fp32"
        with torch.autocast(self.device.type, _DTYPES[self.precision], enabled=enabled):
            reflectance: Tensor = self._model(optical, sar_db)
        return reflectance.float()

    def _measured_batch(self, tile: int) -> int:
        free, _ = torch.cuda.mem_get_info(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_allocated(self.device)
        self(torch.zeros(1, 4, tile, tile, device=self.device), torch.zeros(1, 2, tile, tile, device=self.device))
        per_tile = torch.cuda.max_memory_allocated(self.device) - before
        return int(np.clip(_MEMORY_SHARE * free / max(1, per_tile), 1, _MAX_BATCH))


def resolve_device(name: str) -> torch.device:
    """`auto`, `cpu`, `cuda` or `cuda:N` as a device that is there. Raises DeviceError."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise DeviceError(f"--device is {name}; auto, cpu, cuda and cuda:N are known: choose one of them")
    count = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= count:
        found = f"{count} CUDA device(s) are" if count else "no CUDA device is"
        raise DeviceError(f"--device is {name} and {found} available here; use --device cpu or auto")
    return device


def resolve_precision(name: Precision | Literal["auto"], device: torch.device) -> Precision:
    """`auto` is float32 on CPU; on CUDA bfloat16 where the card has it, else float16."""
    if name != "auto":
        return name
    if device.type == "cpu":
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported() else "fp16"


def reconstruct(
    strips: Iterable[Strip],
    rows: Sequence[Span],
    cols: Sequence[Span],
    predictor: Predictor,
    scene: Scene,
    filler: Filler,
    prior: ScenePrior | None,
    mode: Mode,
) -> Iterator[tuple[Strip, NDArray[np.float32]]]:
    """Run the network over strips, one per span of `rows`, and yield each stretch of finished rows from top to bottom.

    With a `prior`, the network finds it in the place of what the mask hides. Yields the strip cut to the finished rows
    and the blended reflectance (4, rows, width) there. Rows are finished when no later tile can touch them. Tiles with
    nothing to reconstruct are skipped; a pixel to be reconstructed lies only in tiles that are not, so there the
    weights sum to one all the same.
    """
    width = cols[-1].stop
    carry = torch.zeros(4, 0, width, device=predictor.device)
    for position, (strip, span) in enumerate(zip(strips, rows, strict=True)):
        blended = torch.zeros(4, len(span), width, device=predictor.device)
        blended[:, : carry.shape[1]] = carry
        _add_tiles(blended, strip, span, cols, predictor, scene, filler, prior, mode)
        done = (rows[position + 1].start if position + 1 < len(rows) else span.stop) - span.start
        yield strip.head(done), blended[:, :done].cpu().numpy()
        carry = blended[:, done:]


def _add_tiles(
    blended: Tensor,
    strip: Strip,
    span: Span,
    cols: Sequence[Span],
    predictor: Predictor,
    scene: Scene,
    filler: Filler,
    prior: ScenePrior | None,
    mode: Mode,
) -> None:
    wanted = strip.wanted(mode)
    chosen = [col for col in cols if wanted[:, col.start : col.stop].any()]
    if not chosen:
        return
    optical, sar_db = (torch.from_numpy(a).to(predictor.device) for a in _inputs(strip, scene, filler, prior))
    row_weights = torch.from_numpy(span.weights).to(predictor.device)[:, None]
    for group in _batches(chosen, predictor.batch_for(len(span))):
        tiles = [torch.stack([image[..., c.start : c.stop] for c in group]) for image in (optical, sar_db)]
        for col, tile in zip(group, predictor(*tiles), strict=True):
            weights = row_weights * torch.from_numpy(col.weights).to(predictor.device)
            blended[..., col.start : col.stop].addcmul_(tile, weights)


def _inputs(
    strip: Strip, scene: Scene, filler: Filler, prior: ScenePrior | None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Reflectance (4, H, W), the prior in it where the mask is, and dB (2, H, W).

    Both are typical where there is no data: nodata is not black ground.
    """
    optical = np.where(has_data(strip.dn), scene.reflectance(strip.dn), filler.reflectance[:, None, None])
    if prior is not None:
        optical = primed(optical, prior.rows(strip.start, strip.stop), strip.cloudy)
    sar_db = np.where(np.isfinite(strip.sar_db), strip.sar_db, filler.sar_db[:, None, None])
    return optical, sar_db


def _batches(cols: Sequence[Span], size: int) -> Iterator[list[Span]]:
    """Spans of one length together, `size` at most, in order."""
    group: list[Span] = []
    for col in cols:
        if group and (len(group) == size or len(col) != len(group[0])):
            yield group
            group = []
        group.append(col)
    if group:
        yield group


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
