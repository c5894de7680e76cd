"""Cloudy, clear and radar images of one place, as data sets of cloud removal keep them on disk."""

from __future__ import annotations

import csv
import glob
import math
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cloudfree.arrays import Float64Array, Image, Mask, as_image, known_of
from cloudfree.bands import REFLECTANCE_SCALE, SAR_NOISE_DB
from cloudfree.errors import InputError
from cloudfree.geometry import Grid
from cloudfree.inputs.files import usable_references
from cloudfree.inputs.optical.reference import Reference
from cloudfree.inputs.radar.image import SarOptions, identify_sar
from cloudfree.inputs.raster import access
from cloudfree.scene import references

_CLEAR_SUFFIX = "_clear.tif"
_COLUMNS = ("cloud-free", "cloudy", "Sentinel-1", "land cover", "cloud mask")
_PASTE_FEATHER_M = 50.0  # over which a pasted cloud thins out beyond its mask, as real ones do


@dataclass(frozen=True)
class TripletFiles:
    """Where the images of one place are; mask, land cover and references, images of other dates, may be missing."""

    name: str
    clear: Path
    cloudy: Path
    sar: Path
    mask: Path | None = None
    land_cover: Path | None = None
    references: tuple[Path, ...] = ()

    @property
    def site(self) -> str:
        """What the patches of one place share: the name of the clear image without the patch's number (`_p_457`)."""
        return re.sub(r"_p_?\d+$", "", self.clear.stem.removesuffix("_clear"))


@dataclass(frozen=True)
class Observation:
    """What a method may see of a place.

    reflectance (4, H, W), cloudy, not clipped; sar_db (2, H, W) dB, VV and VH, NaN where invalid; valid (H, W): the
    optical image has data; mask (H, W): cloud or shadow, None if not known; others: reflectance on other dates
    (4, H, W), NaN where an image shows nothing.
    """

    reflectance: Image
    sar_db: Image
    valid: Mask
    mask: Mask | None
    pixel_size_m: float
    others: tuple[Image, ...] = ()

    @property
    def hidden(self) -> Mask:
        """The mask, or nothing where there is none."""
        return np.zeros_like(self.valid) if self.mask is None else self.mask

    @property
    def telling_others(self) -> tuple[Image, ...]:
        """Of the other dates those that a model can learn from: they show ground that is clear here too."""
        return references.telling(self.others, self.valid & ~self.hidden, self.pixel_size_m)

    def crop(self, rows: slice, cols: slice) -> Observation:
        """A part of it."""
        return replace(
            self,
            reflectance=self.reflectance[:, rows, cols],
            sar_db=self.sar_db[:, rows, cols],
            valid=self.valid[rows, cols],
            mask=None if self.mask is None else self.mask[rows, cols],
            others=tuple(image[:, rows, cols] for image in self.others),
        )

    def distance_m(self) -> Float64Array:
        """From the mask (H, W), infinite if nothing is masked."""
        if not self.hidden.any():
            return np.full(self.hidden.shape, math.inf)
        return np.asarray(self.pixel_size_m * ndimage.distance_transform_edt(~self.hidden))

    @property
    def typical_reflectance(self) -> Image:
        """The median (4,) of clear pixels, or of all where none is clear."""
        clear = self.valid & ~self.hidden
        return as_image(np.median(self.reflectance[:, clear if clear.any() else self.valid], axis=1))

    @property
    def typical_sar_db(self) -> Image:
        """The median (2,) of pixels with both polarisations in dB; 0 if there are none."""
        known = known_of(self.sar_db)
        return as_image(np.median(self.sar_db[:, known], axis=1) if known.any() else np.zeros(2))

    def sar_without_gaps(self) -> Image:
        """Backscatter (2, H, W) with the median of each polarisation where it is invalid; 0 dB if all of it is."""
        medians = [np.median(band[np.isfinite(band)]) if np.isfinite(band).any() else 0.0 for band in self.sar_db]
        return as_image(np.where(np.isfinite(self.sar_db), self.sar_db, np.array(medians)[:, None, None]))


@dataclass(frozen=True)
class Triplet:
    """A place: what is seen of it, and what it looks like.

    truth (4, H, W) reflectance, not clipped; valid (H, W): the truth has data, and so has the observation; land_cover
    (H, W): WorldCover's codes, None if not known.
    """

    name: str
    seen: Observation
    truth: Image
    valid: Mask
    land_cover: NDArray[np.uint8] | None = None

    def crop(self, rows: slice, cols: slice) -> Triplet:
        """A part of it."""
        land_cover = None if self.land_cover is None else self.land_cover[rows, cols]
        seen, truth = self.seen.crop(rows, cols), self.truth[:, rows, cols]
        return replace(self, seen=seen, truth=truth, valid=self.valid[rows, cols], land_cover=land_cover)


def find(source: Path, root: Path | None = None) -> list[TripletFiles]:
    """The images that a list or a folder names, in its order. Raises InputError where there is none.

    A list is a CSV without header in the layout of M3R-CR: cloud-free, cloudy, Sentinel-1, and in its longer form land
    cover and cloud mask, relative to `root`, which is the list's own folder or the split's folder beside it if None.
    A folder holds `NAME_cloudy.tif`, `NAME_clear.tif`, `NAME_sar.tif`, and may hold `NAME_mask.tif`,
    `NAME_landcover.tif`, and images of other dates: all that `NAME_reference*.tif` matches, in the order of their
    names, but for those with `udm2` in them.
    """
    files = _in_folder(source) if source.is_dir() else _in_list(source, root)
    if not files:
        raise InputError(
            f"{source} names no images; NAME_cloudy.tif, NAME_clear.tif and NAME_sar.tif are needed, or a list of "
            "such files in the layout of M3R-CR: check the path"
        )
    return files


def read(files: TripletFiles, georeferenced: bool = True) -> Triplet:
    """The pixels of one place, on the grid of its cloudy image. Raises InputError or GridError.

    Digital numbers are surface reflectance x 10000, 0 nodata. Radar is laid where it says it lies, or else stretched
    over the image by nearest neighbour if it is not `georeferenced`. Land cover and mask are stretched. References are
    read as a run reads them (`inputs.reference`), of any grid, and not co-registered; one that is of no use is warned
    of and left out.
    """
    cloudy, grid = _optical(files.cloudy)
    clear, _ = _optical(files.clear)
    if clear.shape != cloudy.shape:
        raise InputError(
            f"{files.clear.name} and {files.cloudy.name} have {clear.shape[1:]} and {cloudy.shape[1:]} pixels; "
            "they must share their grid: warp one"
        )
    seen = Observation(
        cloudy,
        _radar(files.sar, grid) if georeferenced else _stretched_radar(files.sar, grid),
        np.asarray((cloudy > 0).any(0)),
        None if files.mask is None else _mask(files.mask, grid),
        grid.pixel_size_m,
        tuple(_on_grid(reference, grid) for reference in usable_references(files.references, grid)),
    )
    land_cover = None if files.land_cover is None else _stretched(_pixels(files.land_cover)[0], grid.shape)
    return Triplet(
        files.name,
        seen,
        clear,
        np.asarray(seen.valid & (clear > 0).any(0)),
        None if land_cover is None else land_cover.astype(np.uint8),
    )


def paste_clouds(triplet: Triplet) -> Triplet:
    """The masked part of the cloudy image over the clear one, thinning out beyond the mask.

    Within the mask the pixels are wholly those of the cloudy image: nothing of the truth shows through thin cloud.
    """
    share = np.clip(1 - triplet.seen.distance_m() / _PASTE_FEATHER_M, 0, 1) ** 2
    mixed = as_image(triplet.truth + (triplet.seen.reflectance - triplet.truth) * as_image(share))
    return replace(triplet, seen=replace(triplet.seen, reflectance=mixed, valid=triplet.valid))


def _in_folder(folder: Path) -> list[TripletFiles]:
    files = []
    for clear in sorted(folder.glob(f"*{_CLEAR_SUFFIX}")):
        name = clear.name.removesuffix(_CLEAR_SUFFIX)
        cloudy, sar = folder / f"{name}_cloudy.tif", folder / f"{name}_sar.tif"
        if cloudy.exists() and sar.exists():
            optional = (folder / f"{name}_{kind}.tif" for kind in ("mask", "landcover"))
            mask, land_cover = (path if path.exists() else None for path in optional)
            dates = sorted(folder.glob(f"{glob.escape(name)}_reference*.tif"))
            others = tuple(path for path in dates if "udm2" not in path.name)
            files.append(TripletFiles(name, clear, cloudy, sar, mask, land_cover, others))
    return files


def _in_list(path: Path, root: Path | None) -> list[TripletFiles]:
    if not path.is_file():
        raise InputError(f"{path} does not exist; a list or a folder of images is needed: check the path")
    with path.open(newline="", encoding="utf-8") as file:
        lines = [[cell.strip() for cell in line] for line in csv.reader(file) if line]
    for number, line in enumerate(lines, 1):
        if len(line) not in (3, 5):
            raise InputError(
                f"line {number} of {path.name} has {len(line)} columns; three or five are allowed: "
                f"{', '.join(_COLUMNS)}, without a header"
            )
    return [_of_line(path, root, line) for line in lines]


def _of_line(path: Path, root: Path | None, line: list[str]) -> TripletFiles:
    """Paths relative to the root, else to a folder of the list's name (`test.csv`, `test/`), else to the list's own."""
    beside = path.with_suffix("")
    folder = root or (beside if (beside / line[0]).exists() else path.parent)
    clear, cloudy, sar, *others = (folder / cell for cell in line)
    land_cover, mask = others or (None, None)
    return TripletFiles(cloudy.stem, clear, cloudy, sar, mask, land_cover)


def _optical(path: Path) -> tuple[Image, Grid]:
    with access.opened(path) as dataset:
        if dataset.count != 4 or dataset.dtypes[0] != "uint16":
            raise InputError(
                f"{path.name} has {dataset.count} bands of {dataset.dtypes[0]}; four of uint16 are needed, "
                "blue, green, red, NIR, reflectance x 10000: export it so"
            )
        return dataset.read().astype(np.float32) * np.float32(REFLECTANCE_SCALE), Grid.of(dataset)


def _on_grid(reference: Reference, grid: Grid) -> Image:
    with reference.open() as reader:
        return reader.on_grid(grid)


def _radar(path: Path, grid: Grid) -> Image:
    with access.opened(path) as dataset:
        if dataset.count == 2 and Grid.of(dataset) == grid:
            return _without_noise(dataset.read().astype(np.float32))
    with identify_sar([path], grid, SarOptions("db")).open() as reader:
        return reader.on_grid(grid)


def _without_noise(sar_db: Image) -> Image:
    """NaN where there is no ground. One band of zeros is ground: SEN12MS-CR cuts VV off at 0 dB."""
    absent = ~np.isfinite(sar_db) | (sar_db < SAR_NOISE_DB) | (sar_db == 0).all(axis=0)
    return as_image(np.where(absent, np.nan, sar_db))


def _stretched_radar(path: Path, grid: Grid) -> Image:
    """By nearest neighbour, as published, wherever it lies."""
    return _without_noise(as_image(_stretched(_pixels(path).astype(np.float32), grid.shape)))


def _mask(path: Path, grid: Grid) -> Mask:
    pixels = np.load(path) if path.suffix == ".npy" else _pixels(path)[0]
    return np.asarray(_stretched(pixels, grid.shape) != 0)


def _pixels(path: Path) -> NDArray[np.generic]:
    with access.opened(path) as dataset:
        pixels: NDArray[np.generic] = dataset.read()
        return pixels


def _stretched(image: NDArray[np.generic], shape: tuple[int, int]) -> NDArray[np.generic]:
    """An image (..., h, w) over `shape` (H, W) by nearest neighbour."""
    rows, cols = (((2 * np.arange(n) + 1) * m) // (2 * n) for n, m in zip(shape, image.shape[-2:], strict=True))
    return image[..., rows[:, None], cols]
