"""A scene strip by strip: full-width rows, how much of each pixel is to be reconstructed, and what comes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cloudfree.arrays import Image, Mask, known_of
from cloudfree.geometry import Displacement
from cloudfree.inputs.area import Part
from cloudfree.inputs.files import InputReader
from cloudfree.inputs.optical.scene import has_data
from cloudfree.reconstruct.feather import Feather
from cloudfree.reconstruct.tiles import Span

WithoutSar = Literal["fill", "keep", "nodata"]


@dataclass(frozen=True)
class Fill:
    """What is reconstructed: what the mask hides, or everything.

    Where radar has no valid pixel (gaps, borders, layover), what the mask hides is filled `without_sar`, from the
    scene's surroundings alone, or kept as observed, or made nodata; the rest stays as observed.
    """

    extent: Literal["clouds", "all"]
    without_sar: WithoutSar = "fill"


@dataclass(frozen=True)
class Strip:
    """Rows of a scene from a column on, mostly its first, and what is known of them.

    `dn` (4, H, W) uint16, all zero without data; `sar_db` (2, H, W) float32, NaN where invalid or not asked for;
    `cloud_weight` (H, W): share of reconstruction that the mask asks for, 0..1, its buffer and feather included;
    `others`: what each reference shows (4, H, W), NaN where nothing, if there is anything to reconstruct. `sar_valid`
    (H, W): where radar is known to be valid.
    """

    start: int
    dn: NDArray[np.uint16]
    sar_db: Image
    sar_valid: Mask
    cloud_weight: Image
    others: tuple[Image, ...] = ()
    left: int = 0

    @classmethod
    def of(
        cls,
        start: int,
        dn: NDArray[np.uint16],
        sar_db: Image,
        cloud_weight: Image,
        others: tuple[Image, ...] = (),
    ) -> Strip:
        """Of full-width rows."""
        return cls(start, dn, sar_db, known_of(sar_db), cloud_weight, others)

    @property
    def stop(self) -> int:
        return self.start + self.dn.shape[1]

    def rows(self, first: int, last: int) -> Strip:
        """Its rows from `first` up to `last`, counted from its own start."""
        kept = slice(first, last)
        return replace(
            self,
            start=self.start + first,
            dn=self.dn[:, kept],
            sar_db=self.sar_db[:, kept],
            sar_valid=self.sar_valid[kept],
            cloud_weight=self.cloud_weight[kept],
            others=tuple(image[:, kept] for image in self.others),
        )

    def columns(self, first: int, last: int) -> Strip:
        """Its columns from `first` up to `last`, counted from its own left."""
        kept = slice(first, last)
        return replace(
            self,
            left=self.left + first,
            dn=self.dn[..., kept],
            sar_db=self.sar_db[..., kept],
            sar_valid=self.sar_valid[:, kept],
            cloud_weight=self.cloud_weight[:, kept],
            others=tuple(image[..., kept] for image in self.others),
        )

    def without_sources(self) -> Strip:
        """What is left to know of it once the network has seen it: radar and references are much of its memory."""
        return replace(self, sar_db=np.broadcast_to(np.float32(np.nan), self.sar_db.shape), others=())

    def blend_weight(self, fill: Fill) -> Image:
        """Share of reconstruction (H, W), 0..1: none where there is no data."""
        nothing = np.float32(0)
        if fill.extent == "clouds" and not self.cloud_weight.any():
            return np.broadcast_to(nothing, self.cloud_weight.shape)
        with_sar = np.float32(1) if fill.extent == "all" else self.cloud_weight
        without_sar = self.cloud_weight if fill.without_sar == "fill" else nothing
        weight = with_sar if with_sar is without_sar else np.where(self.sar_valid, with_sar, without_sar)
        return np.where(has_data(self.dn), weight, nothing)


class RestoredStrip(NamedTuple):
    """Rows of a scene after the network.

    reflectance (4, H, W); seen_share (H, W), 0..1: how much of what the mask hides was observed through the cloud.
    """

    strip: Strip
    reflectance: Image
    seen_share: Image

    def rows(self, first: int, last: int) -> RestoredStrip:
        """Its rows from `first` up to `last`, counted from its own start."""
        rows = slice(first, last)
        return RestoredStrip(self.strip.rows(first, last), self.reflectance[:, rows], self.seen_share[rows])

    def columns(self, first: int, last: int) -> RestoredStrip:
        """Its columns from `first` up to `last`, counted from its own left."""
        cols = slice(first, last)
        return RestoredStrip(self.strip.columns(first, last), self.reflectance[..., cols], self.seen_share[..., cols])

    def within(self, part: Part) -> RestoredStrip:
        """What of it lies in a part of the scene; it may have no rows."""
        top, height = self.strip.start, self.strip.dn.shape[1]
        first, last = (min(max(at - top, 0), height) for at in (part.rows.start, part.rows.stop))
        return self.rows(first, last).columns(part.cols.start, part.cols.stop)


@dataclass(frozen=True)
class StripReader:
    """Strips of open inputs on the scene's grid, radar displaced and the mask feathered.

    Where the columns of `tiles` are given, which go through a network together, radar is read for those alone in which
    `fill` may ask for a reconstruction: elsewhere nothing depends on it.
    """

    reader: InputReader
    displacement: Displacement
    feather: Feather
    fill: Fill = Fill("all")
    tiles: Sequence[Span] = ()

    def read(self, start: int, stop: int) -> Strip:
        """Rows start..stop. Strips from top to bottom, overlapping ones too, unpack each block of the scene once."""
        grid, cloud_weight = self.reader.grid.rows(start, stop), self._cloud_weight(start, stop)
        dn = self.reader.scene.rows(start, stop)
        sar_db = self.reader.sar.on_grid(grid, self.displacement, self._with_tiles(dn, cloud_weight))
        others = self.reader.others(grid) if cloud_weight.any() else ()
        return Strip.of(start, dn, sar_db, cloud_weight, others)

    def _with_tiles(self, dn: NDArray[np.uint16], cloud_weight: Image) -> NDArray[np.bool_] | None:
        """Columns (W,) of tiles in which something may be reconstructed; None, all of them, without `tiles`."""
        if not self.tiles:
            return None
        asked = np.any(has_data(dn) if self.fill.extent == "all" else cloud_weight, axis=0)
        chosen = np.zeros(asked.shape, bool)
        for tile in self.tiles:
            chosen[tile.start : tile.stop] |= asked[tile.start : tile.stop].any()
        return chosen

    def _cloud_weight(self, start: int, stop: int) -> Image:
        """By more rows of the mask than the strip has, as far as a feather reaches: strips equal the whole."""
        grid, reach = self.reader.grid, self.feather.reach_px
        first, last = max(0, start - reach), min(grid.height, stop + reach)
        weight = self.feather.weight(self.reader.cloudy(grid.rows(first, last)))
        return weight[start - first : stop - first]
