"""A scene through the network in overlapping tiles: strips of rows in, blended reflectance of finished rows out."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from cloudfree.arrays import Image
from cloudfree.errors import WeightsError
from cloudfree.inputs.optical.scene import Scene, has_data
from cloudfree.reconstruct.predictor import Predictor
from cloudfree.reconstruct.strips import Fill, RestoredStrip, Strip
from cloudfree.reconstruct.tile import Restoration, Tile, restore
from cloudfree.reconstruct.tiles import Span
from cloudfree.scene.model import SceneModel

T = TypeVar("T")
Fetch = Callable[[], Image]


@dataclass(frozen=True)
class SlidingWindow:
    """The network over strips of a scene, in overlapping tiles that are blended where they overlap.

    `model` is the scene's model of the ground, None for a scene without a mask; `fill` says what is reconstructed.
    """

    predictor: Predictor
    scene: Scene
    model: SceneModel | None
    restoration: Restoration
    fill: Fill

    def over(self, strips: Iterable[Strip], rows: Sequence[Span], cols: Sequence[Span]) -> Iterator[RestoredStrip]:
        """Run the network over strips, one per span of `rows`, and yield finished rows from top to bottom.

        Rows are finished when no later tile can touch them. Spans may be a part of the scene's: then only what all of
        them together cover is finished. Tiles with nothing to reconstruct are skipped; a pixel to be reconstructed lies
        only in tiles that are not, so there the weights sum to one all the same.
        """
        blended_strips = self._blended(strips, rows, cols)
        # On CUDA a strip is fetched when the next has been begun, so that the device has work meanwhile.
        for strip, fetch in one_behind(blended_strips) if self.predictor.device.type == "cuda" else blended_strips:
            blended = fetch()
            if not np.isfinite(blended).all():
                raise WeightsError(
                    "the network's answer is not finite; weights are needed that suit reflectance and radar in dB: "
                    "give others, or --precision fp32"
                )
            seen_share = blended[4] if len(blended) > 4 else np.broadcast_to(np.float32(0), blended.shape[1:])
            yield RestoredStrip(strip, blended[:4], seen_share)
            del strip, fetch, blended  # they are large

    def _blended(
        self, strips: Iterable[Strip], rows: Sequence[Span], cols: Sequence[Span]
    ) -> Iterator[tuple[Strip, Fetch]]:
        width, device = self.scene.grid.width, self.predictor.device
        channels = 5 if self.restoration.sees else 4  # reflectance, and `seen_share`
        blended = torch.zeros(channels, max(map(len, rows)), width, device=device)
        # Once, before the network is queued: a copy of its own for each strip would wait for all that is queued.
        down, across = ({span: torch.from_numpy(span.weights).to(device) for span in spans} for spans in (rows, cols))
        # By hand, for zip and enumerate keep what they gave last while they wait for the next.
        strips, starts = iter(strips), [*(span.start for span in rows[1:]), rows[-1].stop]
        for span, next_start in zip(rows, starts, strict=True):
            strip = next(strips)
            self._add_tiles(blended[:, : len(span)], strip, down[span][:, None], across)
            done = next_start - span.start
            yield strip.rows(0, done).without_sources(), _fetched(blended[:, :done].clone())
            del strip  # the next is about to be waited for
            begun = len(span) - done
            blended[:, :begun] = blended[:, done : len(span)].clone()
            blended[:, begun:] = 0

    def _add_tiles(self, blended: Tensor, strip: Strip, down: Tensor, across: dict[Span, Tensor]) -> None:
        """Add the strip's tiles, each times its blend weights (`down` (H, 1), `across` by columns), to its rows
        (4 or 5, H, W).
        """
        chosen = [col for col in across if strip.columns(col.start, col.stop).blend_weight(self.fill).any()]
        for group in _batches(chosen, self.predictor.batch_for(len(down))):
            tiles = [self._tile(strip.columns(col.start, col.stop)) for col in group]
            for col, reflectance, seen_share in zip(
                group, *restore(tiles, self.restoration, self.predictor), strict=True
            ):
                weight = down * across[col]
                blended[:4, :, col.start : col.stop].addcmul_(reflectance, weight)
                blended[4:, :, col.start : col.stop].addcmul_(seen_share, weight)

    def _tile(self, strip: Strip) -> Tile:
        """Some columns of a strip as a tile."""
        observed = self.scene.reflectance(strip.dn), has_data(strip.dn), strip.sar_db, strip.cloud_weight
        tile = Tile(*observed, wanted=strip.blend_weight(self.fill))
        if not self.model or not (self.restoration.sees or strip.cloud_weight[~strip.sar_valid].any()):
            return tile
        rows, cols = range(strip.start, strip.stop), range(strip.left, strip.left + strip.dn.shape[2])
        return replace(tile, **self.model.expected(rows, cols, strip.others)._asdict())


def one_behind(items: Iterable[T]) -> Iterator[T]:
    """The same items, each only when the next has been drawn."""
    waiting: list[T] = []
    for item in items:
        waiting.append(item)
        if len(waiting) > 1:
            yield waiting.pop(0)
    yield from waiting


def _fetched(result: Tensor) -> Fetch:
    """Begin to bring a result back; what is returned waits for it."""
    if result.device.type != "cuda":
        return result.cpu().numpy
    here = torch.empty(result.shape, pin_memory=True)
    with torch.cuda.device(result.device):  # with --device cuda:1 another is the current one
        here.copy_(result, non_blocking=True)
        arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
        arrived.record(torch.cuda.current_stream(result.device))

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
