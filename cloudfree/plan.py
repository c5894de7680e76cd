"""What a run is told (`Options`), and what is decided before its network starts (`Plan`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypedDict

from cloudfree.bands import DETECTORS
from cloudfree.geometry import Displacement, Grid, distance_m
from cloudfree.inputs.area import BBox, Part
from cloudfree.inputs.files import InputOptions, Inputs
from cloudfree.inputs.location.source import AnyPath, Source
from cloudfree.inputs.location.versions import Versions
from cloudfree.inputs.masks.mask import BUFFER_M
from cloudfree.inputs.optical.scene import Scene
from cloudfree.inputs.radar.backscatter import Units
from cloudfree.inputs.values import Compress, Count, Metres, Time
from cloudfree.network.device import Precision
from cloudfree.network.models import CloudRemovalModel
from cloudfree.product.kinds import KINDS, STYLES, Kind
from cloudfree.reconstruct.feather import Feather
from cloudfree.reconstruct.strips import Fill, WithoutSar
from cloudfree.reconstruct.tiles import OVERLAP_PX, TILE_PX
from cloudfree.scene import cloud_edges
from cloudfree.scene.look import Coregister
from cloudfree.scene.model import SceneModel
from cloudfree.scene.offset import Offset
from cloudfree.scene.survey import Survey


@dataclass(frozen=True, kw_only=True)
class Options(InputOptions):
    """Everything a run can be told; what concerns its inputs is in `InputOptions`."""

    output: Path
    """The cloud-free COG to write."""

    bbox: BBox | None = None
    """West, south, east, north in degrees: the part of the scene to write. What is learned is of the whole scene."""

    aoi: Path | None = None
    """A file of polygons, GeoJSON for one: the same by its outline."""

    fill: Literal["auto", "clouds", "all"] = "auto"
    """What is reconstructed: what the mask hides, or everything. "auto" is everything only where there is no mask."""

    without_sar: WithoutSar = "fill"
    """What becomes of cloudy pixels where radar has no valid pixel: filled from their surroundings, kept, or nodata."""

    find_clouds: Literal["auto", "always", "never"] = "auto"
    """Whether clouds are found in the scene itself: where no mask is given, beside a mask too, or not at all."""

    find_clouds_with: str = DETECTORS[0]
    """The cloud detector, one of `bands.DETECTORS`."""

    edge_limit_m: Metres = cloud_edges.LIMIT_M
    """How far beyond the mask its clouds are followed to where they end, in metres; 0 does not."""

    buffer_m: Metres = BUFFER_M
    """Ground around the mask, in metres, that is taken for cloudy too where something is in the way of it.

    All of it is, where clouds are not followed (`edge_limit_m` 0).
    """

    weights: str = "auto"
    """Name or file of the network's weights; "auto" is the default weights of the registry."""

    adapt_minutes: Time = 0.0
    """Fine-tune the weights on the scene's clear ground first, for so many minutes at most; 0 does not."""

    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps; "auto" is CUDA where there is a card."""

    precision: Precision | Literal["auto"] = "auto"
    """fp32, bf16 or fp16; "auto" is the half type that the device computes faster, else fp32."""

    tile: int = TILE_PX
    """Side of the network's windows in pixels, a multiple of 16."""

    overlap: int = OVERLAP_PX
    """Pixels that neighbouring windows share."""

    batch: Count | None = None
    """Windows at once; None is what fits the device's memory."""

    coregister: Coregister = "auto"
    """Whether offsets of radar and references are corrected: where they can be had reliably, never, or else fail."""

    compress: Compress = "deflate"
    """Compression of the rasters that are written: deflate, zstd, lzw or none."""

    quicklook: Path | None = None
    """A PNG of the scene, radar and the product."""

    report: Path | None = None
    """An HTML page of the run."""

    stac: Path | None = None
    """A STAC item of all files that are written."""

    qa: Path | None = None
    """A COG of what was observed and what reconstructed."""

    uncertainty: Path | None = None
    """A COG of one standard deviation of each band's reflectance."""

    write_mask: Path | None = None
    """A COG of the mask that was used."""

    style: bool = False
    """Whether a style for QGIS is written beside each raster."""

    references_rule: str = ""
    """By what a batch has chosen the references, in words; empty where they are a user's."""

    overwrite: bool = False
    """Whether existing files are replaced."""

    wait_s: Time = 0.0
    """How long to wait for another run that is making the same files, in seconds."""

    @property
    def files(self) -> dict[Kind, Path]:
        """The files to be made, by kind, the product first."""
        files = {kind: path for kind in KINDS if (path := getattr(self, kind.field))}
        styles = {STYLES[kind]: path.with_suffix(".qml") for kind, path in files.items() if kind.is_raster}
        return {**files, **(styles if self.style else {})}

    @property
    def targets(self) -> list[Path]:
        """The paths of these files."""
        return list(self.files.values())


class RunArguments(TypedDict, total=False):
    """The fields of `Options` as Python callers may write them, but for planet, sar and output."""

    udm2: AnyPath | None
    mask: AnyPath | None
    references: AnyPath | Sequence[AnyPath]
    planet_bands: tuple[int, ...] | None
    planet_quantity: Literal["surface-reflectance", "toa-reflectance", "radiance"] | None
    planet_scale: tuple[float, ...] | None
    planet_date: str | None
    mask_values: str | None
    mask_bits: str | None
    mask_threshold: float | None
    mask_unknown: Literal["cloud", "clear"]
    sar_bands: tuple[int, ...] | None
    sar_units: Units | Literal["auto"]
    sar_scale: float | None
    sar_offset: float | None
    allow_hh_hv: bool
    trust_inputs: bool
    max_shift_m: float
    bbox: BBox | None
    aoi: AnyPath | None
    fill: Literal["auto", "clouds", "all"]
    without_sar: WithoutSar
    find_clouds: Literal["auto", "always", "never"]
    find_clouds_with: str
    edge_limit_m: float
    buffer_m: float
    weights: str
    adapt_minutes: float
    device: str
    precision: Precision | Literal["auto"]
    tile: int
    overlap: int
    batch: int | None
    coregister: Coregister
    compress: Compress
    quicklook: AnyPath | None
    report: AnyPath | None
    stac: AnyPath | None
    qa: AnyPath | None
    uncertainty: AnyPath | None
    write_mask: AnyPath | None
    style: bool
    references_rule: str
    overwrite: bool
    wait_s: float


@dataclass(frozen=True)
class Plan:
    """What a run decided before the network starts.

    files: all that decide the product (`Inputs.deciding`), and their `versions`, where they have some.
    fill: what is reconstructed.
    survey: a coarse look at the scene; radar and references are displaced in it.
    offset: of radar, None where it was not estimated; `displacement` is what is applied to it.
    reference_offsets: of each reference, empty where they were not estimated.
    scene_model: of the ground under the mask, None where none is needed.
    network: the weights as loaded.
    part: the pixels that are written; all else is of the whole scene.
    warnings: what an analyst should know of it.
    seconds: how long it took to decide.
    """

    options: Options
    files: tuple[Source, ...]
    versions: Versions
    inputs: Inputs
    fill: Fill
    survey: Survey
    offset: Offset | None
    displacement: Displacement
    reference_offsets: tuple[Offset, ...]
    scene_model: SceneModel | None
    network: CloudRemovalModel
    device: str
    precision: Precision
    part: Part
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def scene(self) -> Scene:
        return self.inputs.scene

    @property
    def grid(self) -> Grid:
        return self.scene.grid

    @property
    def feather(self) -> Feather:
        """How the mask fades out. Where its clouds were followed to where they end, no more is needed than to blend."""
        feather = Feather.of_pixel_size(self.grid.pixel_size_m, self.options.buffer_m)
        return feather.alone if self.options.edge_limit_m else feather

    @property
    def rewritten_share(self) -> float:
        """Share (0..1) of the data that will be reconstructed, wholly or in part, by the survey."""
        data = self.survey.data
        if self.fill.extent == "all":
            return 1.0
        hidden = self.survey.cloudy | (self.inputs.found.hidden if self.inputs.found else False)
        reach_m = self.feather.buffer_px * self.grid.pixel_size_m
        away_m = distance_m(hidden, self.survey.grid.pixel_size_m, reach_m)
        return float((away_m[data] < max(reach_m, 1e-6)).mean())

    @property
    def sees(self) -> bool:
        """Whether the network sees what lies under the mask (`models.Seen`); one as published is shown the image."""
        return bool(self.network.planes)
