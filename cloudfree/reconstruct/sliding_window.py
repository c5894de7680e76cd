"""A scene through the network: strips of rows in, blended reflectance of finished rows out."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from cloudfree.arrays import Image
from cloudfree.reconstruct.predictor import Predictor
from cloudfree.reconstruct.strips import Fill, Strip
from cloudfree.reconstruct.tile import Priming, RestoredStrip
from cloudfree.reconstruct.tiles import Span

T = TypeVar("T")
Fetch = Callable[[], Image]


@dataclass(frozen=True)
class SlidingWindow:
    """A network over strips of a scene, in overlapping tiles that are blended where they overlap."""

    predictor: Predictor
    priming: Priming
    fill: Fill

    def over(self, strips: Iterable[Strip], rows: Sequence[Span], cols: Sequence[Span]) -> Iterator[RestoredStrip]:
        """Run the network over strips, one per span of `rows`, and yield finished rows from top to bottom.

        Spans may be some of those of the scene: then only what all of them together cover is finished.
        Yields the strip cut to the finished rows and what is blended of its tiles there. Rows are finished when no
        later tile can touch them. Tiles with nothing to reconstruct are skipped; a pixel to be reconstructed
        lies only in tiles that are not, so there the weights sum to one all the same.
        """
        begun = self._begun(strips, rows, cols)
        # On CUDA a strip is fetched when the next has been begun, so that the device has work meanwhile.
        for strip, fetch in one_behind(begun) if self.predictor.device.type == "cuda" else begun:
            blended = fetch()
            seen_through = blended[4] if len(blended) > 4 else np.broadcast_to(np.float32(0), blended.shape[1:])
            yield RestoredStrip(strip, blended[:4], seen_through)
            del strip, fetch, blended  # they are large

    def _begun(
        self, strips: Iterable[Strip], rows: Sequence[Span], cols: Sequence[Span]
    ) -> Iterator[tuple[Strip, Fetch]]:
        width, device = self.priming.scene.grid.width, self.predictor.device
        # Reflectance, and what is seen through, if that is known.
        channels = 5 if self.priming.primed else 4
        blended = torch.zeros(channels, max(map(len, rows)), width, device=device)
        path_radiance = _sent(np.pad(self.priming.path_radiance, ((0, channels - 4), (0, 0), (0, 0))), device)
        # By hand, for zip and enumerate keep what they gave last while they wait for the next.
        strips, starts = iter(strips), [*(span.start for span in rows[1:]), rows[-1].stop]
        for span, next_start in zip(rows, starts, strict=True):
            strip = next(strips)
            self._add_tiles(blended[:, : len(span)], strip, span, cols)
            done = next_start - span.start
            yield strip.rows(0, done).without_sources(), _fetched(blended[:, :done] + path_radiance)
            del strip  # the next is about to be waited for
            begun = len(span) - done
            blended[:, :begun] = blended[:, done : len(span)].clone()
            blended[:, begun:] = 0

    def _add_tiles(self, blended: Tensor, strip: Strip, span: Span, cols: Sequence[Span]) -> None:
        """Add the strip's tiles, each times its blend weights, to its rows (4 or 5, H, W)."""
        chosen = [col for col in cols if strip.columns(col.start, col.stop).blend_weight(self.fill).any()]
        row_weights = torch.from_numpy(span.weights).to(blended.device)[:, None]
        for group in _batches(chosen, self.predictor.batch_for(len(span))):
            tiles = [self.priming.tile(strip.columns(col.start, col.stop)) for col in group]
            given, radar, kept, through = (_sent(_stacked(each), blended.device) for each in zip(*tiles, strict=True))
            restored = self.predictor(given, radar)
            if any(tile.kept.any() for tile in tiles):
                restored = torch.lerp(restored, given, kept)
            for col, tile, seen in zip(group, restored, through, strict=True):
                weights = row_weights * torch.from_numpy(col.weights).to(blended.device)
                blended[:4, :, col.start : col.stop].addcmul_(tile, weights)
                blended[4:, :, col.start : col.stop].addcmul_(seen, weights)


def one_behind(items: Iterable[T]) -> Iterator[T]:
    """The same items, each only when the next has been drawn."""
    waiting: list[T] = []
    for item in items:
        waiting.append(item)
        if len(waiting) > 1:
            yield waiting.pop(0)
    yield from waiting


def _stacked(images: Sequence[Image]) -> Image:
    """Images along a new first axis, each as large as the largest; one alone is not copied."""
    return np.ascontiguousarray(images[0])[None] if len(images) == 1 else np.stack(np.broadcast_arrays(*images))


def _sent(image: Image, device: torch.device) -> Tensor:
    """The image on the device; to CUDA it travels while the processor goes on."""
    tensor = torch.from_numpy(image)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def _fetched(result: Tensor) -> Fetch:
    """Begin to bring a result back; what is returned waits for it."""
    if result.device.type != "cuda":
        return result.cpu().numpy
    here = torch.empty(result.shape, pin_memory=True)
    here.copy_(result, non_blocking=True)
    arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
    arrived.record()

    def wait() -> Image:
        arrived.synchronize()
        fetched: Image = here.numpy()
        return fetched

    return wait


def _batches(cols: Sequence[Span], size: int) -> Iterator[list[Span]]:
    """Spans of one length together, `size` at most, in order; batches of one length are as equal as can be."""
    for _, same in itertools.groupby(cols, len):
        spans = list(same)
        count = -(-len(spans) // size)
        cuts = [len(spans) * i // count for i in range(count + 1)]
        yield from (spans[start:stop] for start, stop in itertools.pairwise(cuts))
