"""The pictures of a page: before and after with equal contrast, radar, other dates, quality and uncertainty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.windows import Window

from cloudfree.arrays import Image, Mask, known_of
from cloudfree.bands import Qa
from cloudfree.inputs.area import Part
from cloudfree.inputs.location.source import Source
from cloudfree.inputs.optical.scene import Scene, has_data
from cloudfree.product import pictures
from cloudfree.product.kinds import OUTPUT, QA, UNCERTAINTY, Kind
from cloudfree.product.profiles import QA_COLOURS
from cloudfree.report.embedding import Picture, display_shape, embedded, with_alpha
from cloudfree.scene.survey import Survey

_COMPARISON_PX, _PANEL_PX = 1400, 640
_COLOUR_BYTES, _INFRARED_BYTES, _PANEL_BYTES = 450_000, 280_000, 90_000
_REFERENCES_BYTES = 270_000  # of all together
_BAR_PX = 10, 256
_DARKER = 2.0
_BLUE, _GREEN, _RED, _NIR = range(4)

Limits = Sequence[tuple[float, float]]
"""The values shown as black and as white in each of three channels."""


@dataclass(frozen=True)
class Comparison:
    """Two pictures of the same contrast and size."""

    before: Picture
    after: Picture


@dataclass(frozen=True)
class Views:
    """The part of a scene that is in a product, in as many pixels as a page shows; `files` are those of the run."""

    scene: Scene
    survey: Survey
    part: Part
    files: Mapping[Kind, Path]

    @cached_property
    def before_after(self) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
        """Digital numbers (4, H, W) of scene and product, averaged alike, so that equal pixels are shown equal."""
        part, shape = self.part, display_shape(self.part.shape, _COMPARISON_PX, least_px=1)
        window, grid = Window(part.col, part.row, part.width, part.height), part.of(self.scene.grid)
        source, bands = Source.of(self.files[OUTPUT]), (1, 2, 3, 4)
        result = replace(self.scene, path=source, grid=grid, band_indexes=bands, conversion=None)
        with self.scene.open() as scene, result.open() as product:
            return scene.averaged(*shape, window), product.averaged(*shape)

    @property
    def true_colour(self) -> Comparison:
        """Red, green and blue."""
        return self._comparison((_RED, _GREEN, _BLUE), [self._limits] * 3, _COLOUR_BYTES)

    @property
    def infrared(self) -> Comparison:
        """Near infrared as red, red as green, green as blue, each with a contrast of its own."""
        after = _known(self.before_after[1])
        bands = (_NIR, _RED, _GREEN)
        return self._comparison(bands, [pictures.contrast_limits(after[band]) for band in bands], _INFRARED_BYTES)

    @property
    def radar(self) -> Picture:
        """Sentinel-1 in its corrected position."""
        sar_db = pictures.nearest(self.survey.sar_db[:, *self._surveyed], *self._panel_shape)
        known = known_of(sar_db)
        return embedded(with_alpha(pictures.sar_colour(np.where(known, sar_db, np.nan)), known), _PANEL_BYTES)

    @property
    def references(self) -> list[Picture]:
        """Images of other dates in their corrected positions, with the contrast of the product."""
        share = min(_PANEL_BYTES, _REFERENCES_BYTES // max(1, len(self.survey.others)))
        return [self._reference(reflectance, share) for reflectance in self.survey.others]

    @cached_property
    def classes(self) -> NDArray[np.uint8]:
        """Classes of `Qa` (H, W). Without their file, all pixels that differ from the scene are RECONSTRUCTED."""
        shape = display_shape(self.part.shape, _PANEL_PX, least_px=1)
        if QA in self.files:
            with rasterio.open(self.files[QA]) as dataset:
                classes: NDArray[np.uint8] = dataset.read(1, out_shape=shape)
            return classes
        before, after = self.before_after
        known = np.where((before != after).any(axis=0), Qa.RECONSTRUCTED, Qa.OBSERVED)
        return pictures.nearest(np.where(has_data(after), known, Qa.NODATA)[None].astype(np.uint8), *shape)[0]

    @property
    def quality_picture(self) -> Picture:
        """The classes in their colours."""
        colours = np.array([QA_COLOURS[qa] for qa in Qa], np.uint8)[self.classes].transpose(2, 0, 1)
        return embedded(self._on_panel(with_alpha(colours[:3], self.classes != Qa.NODATA)), exact=True)

    @property
    def uncertainty_picture(self) -> Picture:
        """The mean of the bands' standard deviations of reflectance."""
        shape = display_shape(self.part.shape, _PANEL_PX, least_px=1)
        colours = pictures.deviation_colour(self.files[UNCERTAINTY], *shape)
        known = pictures.nearest(has_data(self.before_after[1])[None], *shape)[0]
        return embedded(self._on_panel(with_alpha(colours, known)), _PANEL_BYTES)

    @property
    def whole(self) -> Picture:
        """The whole scene in dark grey, as a background for arrows."""
        grey = np.where(self.survey.data, self.survey.dn[:3].mean(axis=0, dtype=np.float32), np.nan)
        shown = pictures.nearest(np.stack([grey] * 3), *display_shape(self.survey.grid.shape, _PANEL_PX))
        low, high = self._limits
        return embedded(_coloured(shown, [(low, low + _DARKER * (high - low))] * 3), _PANEL_BYTES)

    @cached_property
    def _limits(self) -> tuple[float, float]:
        return pictures.contrast_limits(pictures.true_colour(self.before_after[1]))

    @property
    def _panel_shape(self) -> tuple[int, int]:
        return display_shape(self.part.shape, _PANEL_PX)

    @property
    def _surveyed(self) -> tuple[slice, slice]:
        return pictures.on_survey(self.part, self.scene.grid, self.survey.grid)

    def _on_panel(self, colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return pictures.nearest(colours, *self._panel_shape)

    def _comparison(self, bands: tuple[int, int, int], limits: Limits, at_most: int) -> Comparison:
        colours = (_coloured(_known(dn)[list(bands)], limits) for dn in self.before_after)
        shape = display_shape(self.part.shape, _COMPARISON_PX)
        return Comparison(*(embedded(pictures.nearest(image, *shape), at_most) for image in colours))

    def _reference(self, reflectance: Image, at_most: int) -> Picture:
        dn = self.scene.digital_numbers(reflectance[:, *self._surveyed])
        shown = np.where(known_of(dn), dn, np.nan)[2::-1]
        return embedded(self._on_panel(_coloured(shown, [self._limits] * 3)), at_most)


def deviation_bar() -> Picture:
    """The colours of the uncertainty from none on the left to the brightest on the right."""
    return embedded(pictures.ramp(np.broadcast_to(np.linspace(0, 1, _BAR_PX[1], dtype=np.float32), _BAR_PX)))


def _known(dn: NDArray[np.uint16]) -> Image:
    """Return digital numbers (4, H, W) as floats, NaN without data."""
    return np.where(has_data(dn), dn.astype(np.float32), np.nan)


def _coloured(channels: Image, limits: Limits) -> NDArray[np.uint8]:
    """Return three channels (3, H, W) as colours, transparent where they are NaN."""
    known: Mask = known_of(channels)
    colours = [pictures.with_contrast(channel, *pair) for channel, pair in zip(channels, limits, strict=True)]
    return with_alpha(np.stack(colours), known)
