"""Make the sample: a cloudy PlanetScope clip with its UDM2, a Sentinel-1 pair that is misplaced, and the truth.

An earlier PlanetScope clip of the same place comes with it, in another light, with clouds and an offset of its own.

Run it as `python sample_data/make.py`; it writes next to itself. The place is invented, so the files carry nobody's
licence, and every number comes from the seeds below: a second run writes the same bytes.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, Resampling
from rasterio.warp import reproject, transform_bounds
from scipy import ndimage

from cloudfree.arrays import Image, Mask, as_image
from cloudfree.bands import OPTICAL_BANDS, REFLECTANCE_SCALE, SAR_BANDS, UDM2_BAND_COUNT, Udm2
from cloudfree.simulate.clouds import CloudLayer, Sky, add_clouds, cloud_layer, imperfect_mask
from cloudfree.simulate.landscape import ground_layout
from cloudfree.simulate.noise import fast_shape, fractal_noise
from cloudfree.simulate.parcels import Canvas
from cloudfree.simulate.surface import Ground, Material, speckle

LAND_SEED, CLOUD_SEED, SENSOR_SEED = 11, 105, 2024
SCENE = "20240615_101530_84_2481_3B"

# The scene: 1.92 km square, north up, in UTM 33N. The land goes on around it, for the radar to see.
CRS_SCENE = CRS.from_epsg(32633)
SIZE_PX, PIXEL_M, MARGIN_PX = 640, 3.0, 110
WEST_M, NORTH_M = 514_200.0, 5_545_200.0
# The satellite crosses the meridians at a slant: the valid pixels are a rotated square, and the corners nodata.
FOOTPRINT_TILT_DEG, FOOTPRINT_PX = 8.0, 618

# The radar image lies in the neighbouring zone, so its grid is turned by 4 degrees against the scene's.
CRS_SAR = CRS.from_epsg(32632)
SAR_PIXEL_M, SAR_MARGIN_M = 10.0, 60.0
# What, added to the radar image's map coordinates in metres of the scene's CRS, brings it onto the scene.
OFFSET_EAST_M, OFFSET_NORTH_M = 14.0, -9.0

SKY = Sky(
    cell_m=620, base_m=420, thickness=26, haze_share=0.22, haze_depth=0.75, sun_azimuth_deg=145, sun_zenith_deg=38
)
COVER = 0.24

# The earlier scene, nine days before: its strip begins 60 m further east, and so does the clip.
EARLIER_SCENE, EARLIER_SEED, EARLIER_CLOUD_SEED = "20240606_102214_17_2473_3B", 606, 14
EARLIER_WEST_PX = 20
# What, added to the earlier image's map coordinates in metres of the CRS, brings it onto the scene.
EARLIER_EAST_M, EARLIER_NORTH_M = 1.8, -1.2
EARLIER_SKY = Sky(
    cell_m=650, base_m=350, thickness=22, haze_share=0.15, haze_depth=0.5, sun_azimuth_deg=147, sun_zenith_deg=37
)
EARLIER_COVER = 0.115
WORLDCOVER = {
    Material.TREES: 10,
    Material.SHRUB: 20,
    Material.GRASS: 30,
    Material.CROP: 40,
    Material.SOIL: 60,
    Material.SAND: 60,
    Material.TRACK: 60,
    Material.WATER: 80,
}
BUILT_UP = 50  # ESA WorldCover's class of all other materials
PLOUGHED_SHARE = 0.6  # of the fields that are bare in the scene: they bore a crop nine days before


def north_up(pixel_m: float, west_m: float, north_m: float) -> Affine:
    """The transform of square pixels from the upper left corner."""
    return Affine(pixel_m, 0, west_m, 0, -pixel_m, north_m)


TRANSFORM = north_up(PIXEL_M, WEST_M, NORTH_M)
EARLIER_TRANSFORM = north_up(PIXEL_M, WEST_M + EARLIER_WEST_PX * PIXEL_M, NORTH_M)


@dataclass(frozen=True)
class Light:
    """How a day's light differs from the scene's, as reflectance in blue, green, red, NIR.

    The ground is seen times `gain`, plus `path`. A veil of haze replaces up to `veil` (0..1) of it by `airlight`, in
    features of up to `veil_m` metres.
    """

    gain: tuple[float, ...]
    path: tuple[float, ...]
    airlight: tuple[float, ...]
    veil: float
    veil_m: float

    def on(self, rng: np.random.Generator, ground: Image) -> Image:
        """Ground reflectance (4, H, W) of the scene's day as that day shows it, without cloud."""
        gain, path, airlight = (as_image(band)[:, None, None] for band in (self.gain, self.path, self.airlight))
        veil = self._veil(rng, (ground.shape[1], ground.shape[2]))
        return as_image((ground * gain + path) * (1 - veil) + airlight * veil)

    def _veil(self, rng: np.random.Generator, shape: tuple[int, int]) -> Image:
        """Share (H, W) of the ground's light that the haze replaces: nowhere much, and slowly varying."""
        field = fractal_noise(rng, fast_shape(*shape), slope=3.0, outer_px=self.veil_m / PIXEL_M)
        return as_image(self.veil / (1 + np.exp(-1.5 * field[: shape[0], : shape[1]])))


EARLIER_LIGHT = Light(
    gain=(1.07, 1.05, 1.04, 0.96),
    path=(0.010, 0.007, 0.004, 0.002),
    airlight=(0.34, 0.29, 0.25, 0.21),
    veil=0.05,
    veil_m=900,
)


def main(folder: Path = Path(__file__).parent) -> None:
    """Write all the files into `folder`."""
    land = canvas_ground()
    layer = cloud_layer(np.random.default_rng(CLOUD_SEED), SIZE_PX, SIZE_PX, pixel_size_m=PIXEL_M, cover=COVER, sky=SKY)
    valid = footprint()
    rng = np.random.default_rng(SENSOR_SEED)
    inner = slice(MARGIN_PX, MARGIN_PX + SIZE_PX)
    clear = land.reflectance()[:, inner, inner]
    noise = sensor_noise(rng, clear.shape)

    write_scene(folder / f"{SCENE}_AnalyticMS_SR_clip.tif", add_clouds(clear, layer), noise, valid)
    write_scene(folder / "truth.tif", clear, noise, valid)
    write_udm2(folder / f"{SCENE}_udm2_clip.tif", rng, layer, valid)
    write_land_cover(folder / "land_cover.tif", land_cover(land)[inner, inner])
    write_radar(folder, rng, land.backscatter_db())
    earlier = write_earlier(folder)
    write_facts(folder / "truth.json", layer, valid, earlier)


def canvas_ground() -> Ground:
    """The ground of the scene and a margin around it, on the scene's day."""
    canvas_px = SIZE_PX + 2 * MARGIN_PX
    return ground_layout(Canvas.blank(np.random.default_rng(LAND_SEED), canvas_px, canvas_px, PIXEL_M))


def land_cover(ground: Ground) -> NDArray[np.uint8]:
    """(H, W) uint8, ESA WorldCover classes."""
    cover = np.array([WORLDCOVER.get(material, BUILT_UP) for material in Material], np.uint8)[ground.material]
    cover[(ground.material == Material.CROP) & (ground.vigour < 0.15)] = WORLDCOVER[Material.SOIL]
    return cover


def write_earlier(folder: Path) -> dict[str, Any]:
    """The scene and the UDM2 of nine days before; returns what only their maker knows."""
    rng = np.random.default_rng(EARLIER_SEED)
    ground, grown = ground_before(rng)
    clear = EARLIER_LIGHT.on(rng, on_earlier_grid(ground))
    noise = sensor_noise(rng, clear.shape)
    layer = cloud_layer(
        np.random.default_rng(EARLIER_CLOUD_SEED),
        clear.shape[1],
        clear.shape[2],
        pixel_size_m=PIXEL_M,
        cover=EARLIER_COVER,
        sky=EARLIER_SKY,
    )
    valid = footprint()[:, :-EARLIER_WEST_PX]
    name, transform = folder / EARLIER_SCENE, EARLIER_TRANSFORM
    write_scene(Path(f"{name}_AnalyticMS_SR_clip.tif"), add_clouds(clear, layer), noise, valid, transform)
    write_udm2(Path(f"{name}_udm2_clip.tif"), rng, layer, valid, transform)
    return {
        "scene": EARLIER_SCENE,
        "earlier_to_scene_offset_m": {"east": EARLIER_EAST_M, "north": EARLIER_NORTH_M},
        "offset_convention": "added to the earlier image's map coordinates, it brings the image onto the scene",
        "share_of_valid_pixels": {**shares(layer, valid), "ploughed_since": share(grown, valid)},
        "gain": EARLIER_LIGHT.gain,
        "path_reflectance": EARLIER_LIGHT.path,
        "sun": sun(EARLIER_SKY),
        "seeds": {"land": LAND_SEED, "cloud": EARLIER_CLOUD_SEED, "sensor": EARLIER_SEED},
    }


def ground_before(rng: np.random.Generator) -> tuple[Image, Mask]:
    """Reflectance of the canvas (4, H, W) while most fields that are bare now bore a green crop; and those fields.

    The fields (H, W) are cut to the pixels of the earlier clip.
    """
    now = canvas_ground()
    fields, field = np.unique(now.ripeness, return_inverse=True)  # each field has a ripeness of its own
    ploughed = rng.random(len(fields)) < PLOUGHED_SHARE
    lush = as_image(rng.uniform(0.3, 0.5, len(fields)))
    field = field.reshape(now.ripeness.shape)
    grown: Mask = ploughed[field] & (now.material == Material.SOIL)
    before = replace(
        now,
        material=np.where(grown, np.uint8(Material.CROP), now.material),
        vigour=np.where(grown, np.clip(now.vigour + lush[field], 0, 1), now.vigour),
        ripeness=np.where(grown, np.float32(0.3) * now.ripeness, now.ripeness),
    )
    rows = slice(MARGIN_PX, MARGIN_PX + SIZE_PX)
    return before.reflectance(), grown[rows, rows.start + EARLIER_WEST_PX : rows.stop]


def on_earlier_grid(canvas: Image) -> Image:
    """The canvas (4, H, W) as the earlier clip has it: misplaced by the offset."""
    margin_m = MARGIN_PX * PIXEL_M
    placed = np.zeros((len(canvas), SIZE_PX, SIZE_PX - EARLIER_WEST_PX), np.float32)
    reproject(
        canvas,
        placed,
        src_transform=north_up(PIXEL_M, WEST_M - margin_m - EARLIER_EAST_M, NORTH_M + margin_m - EARLIER_NORTH_M),
        src_crs=CRS_SCENE,
        dst_transform=EARLIER_TRANSFORM,
        dst_crs=CRS_SCENE,
        resampling=Resampling.cubic,
    )
    return np.maximum(placed, np.float32(0.001))


def footprint() -> Mask:
    """(H, W) bool: the pixels that the camera saw."""
    y, x = np.mgrid[:SIZE_PX, :SIZE_PX] - (SIZE_PX - 1) / 2
    cos, sin = math.cos(math.radians(FOOTPRINT_TILT_DEG)), math.sin(math.radians(FOOTPRINT_TILT_DEG))
    seen: Mask = np.maximum(np.abs(x * cos + y * sin), np.abs(y * cos - x * sin)) < FOOTPRINT_PX / 2
    return seen


def sensor_noise(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Image, Image]:
    """Standard normal fields for the noise that is always there and that which grows with the light."""
    return rng.standard_normal(shape, np.float32), rng.standard_normal(shape, np.float32)


def write_scene(
    path: Path, reflectance: Image, noise: tuple[Image, Image], valid: Mask, transform: Affine = TRANSFORM
) -> None:
    """A PlanetScope surface-reflectance product: uint16 x 10000, nodata 0.

    The same noise goes into the cloudy scene and the truth, so that the two are equal wherever the sky is clear.
    """
    dark, shot = noise
    noisy = reflectance + 0.0008 * dark + 0.006 * reflectance * shot
    counts = np.clip(np.round(noisy / REFLECTANCE_SCALE), 1, 65535).astype(np.uint16)
    colours = (ColorInterp.blue, ColorInterp.green, ColorInterp.red, ColorInterp.undefined)
    write(path, np.where(valid, counts, np.uint16(0)), CRS_SCENE, transform, OPTICAL_BANDS, colours, nodata=0)


def write_udm2(
    path: Path, rng: np.random.Generator, layer: CloudLayer, valid: Mask, transform: Affine = TRANSFORM
) -> None:
    """The usable data mask that comes with the scene, no better than the real ones: outlines stray by some pixels."""
    cloud = imperfect_mask(rng, layer.cloud, error_px=3) & valid
    haze = imperfect_mask(rng, layer.haze | layer.cloud, error_px=5) & valid & ~cloud
    shade = imperfect_mask(rng, layer.shade, error_px=4) & valid & ~cloud & ~haze
    clear = valid & ~(cloud | haze | shade)
    bands = np.zeros((UDM2_BAND_COUNT, *valid.shape), np.uint8)
    for band, mask in ((Udm2.CLEAR, clear), (Udm2.SHADOW, shade), (Udm2.LIGHT_HAZE, haze), (Udm2.CLOUD, cloud)):
        bands[band - 1] = mask
        # The classifier doubts itself near the borders of its classes.
        doubt = np.maximum(45 - 3 * ndimage.distance_transform_edt(mask), 0)
        bands[Udm2.CONFIDENCE - 1][mask] = (100 - doubt[mask]).astype(np.uint8)
    bands[Udm2.UDM1 - 1] = ~valid
    write(path, bands, CRS_SCENE, transform, tuple(band.name.lower() for band in Udm2))


def write_land_cover(path: Path, classes: NDArray[np.uint8]) -> None:
    """ESA WorldCover classes on the grid of the scene."""
    write(path, classes[None], CRS_SCENE, TRANSFORM, ("land_cover",), nodata=0)


def write_radar(folder: Path, rng: np.random.Generator, sar_mean_db: Image) -> None:
    """Sigma0 of VV and VH as linear power, a file each, on a 10 m grid of its own, misplaced by the offset."""
    margin_m = MARGIN_PX * PIXEL_M
    seen_at = north_up(PIXEL_M, WEST_M - margin_m - OFFSET_EAST_M, NORTH_M + margin_m - OFFSET_NORTH_M)
    transform, shape = radar_grid()
    for name, mean_db in zip(SAR_BANDS, sar_mean_db, strict=True):
        power = np.zeros(shape, np.float32)
        reproject(
            10 ** (mean_db / 10),
            power,
            src_transform=seen_at,
            src_crs=CRS_SCENE,
            dst_transform=transform,
            dst_crs=CRS_SAR,
            resampling=Resampling.average,
        )
        power *= speckle(rng, shape, SAR_PIXEL_M)
        write(folder / f"s1_{name}.tif", power[None], CRS_SAR, transform, (name,), nodata=0)


def radar_grid() -> tuple[Affine, tuple[int, int]]:
    """Transform and shape of a grid on whole multiples of 10 m that covers the scene with room to spare."""
    extent_m = SIZE_PX * PIXEL_M
    bounds = transform_bounds(CRS_SCENE, CRS_SAR, WEST_M, NORTH_M - extent_m, WEST_M + extent_m, NORTH_M)
    west, south = (math.floor((edge - SAR_MARGIN_M) / SAR_PIXEL_M) for edge in bounds[:2])
    east, north = (math.ceil((edge + SAR_MARGIN_M) / SAR_PIXEL_M) for edge in bounds[2:])
    return north_up(SAR_PIXEL_M, west * SAR_PIXEL_M, north * SAR_PIXEL_M), (north - south, east - west)


def shares(layer: CloudLayer, valid: Mask) -> dict[str, float]:
    """Cloud, haze and shadow as shares (0..1) of the valid pixels."""
    return {
        name: share(mask, valid)
        for name, mask in (("cloud", layer.cloud), ("haze", layer.haze), ("shadow", layer.shade))
    }


def share(mask: Mask, valid: Mask) -> float:
    """How much (0..1) of the valid pixels a mask (H, W) takes."""
    return round(float(mask[valid].mean()), 4)


def sun(sky: Sky) -> dict[str, float]:
    """Where the sun stands, degrees clockwise from north and above the horizon."""
    return {"azimuth_deg": sky.sun_azimuth_deg, "elevation_deg": 90 - sky.sun_zenith_deg}


def write_facts(path: Path, layer: CloudLayer, valid: Mask, earlier: dict[str, Any]) -> None:
    """What only the maker of the scene knows, and of the earlier one."""
    facts = {
        "sar_to_scene_offset_m": {"east": OFFSET_EAST_M, "north": OFFSET_NORTH_M},
        "offset_convention": "added to the SAR image's map coordinates, it brings the image onto the scene",
        "share_of_valid_pixels": shares(layer, valid),
        "sun": sun(SKY),
        "seeds": {"land": LAND_SEED, "cloud": CLOUD_SEED, "sensor": SENSOR_SEED},
        "earlier": earlier,
    }
    path.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8", newline="\n")


def write(
    path: Path,
    bands: NDArray[Any],
    crs: CRS,
    transform: Affine,
    descriptions: tuple[str, ...],
    colours: tuple[ColorInterp, ...] | None = None,
    **profile: Any,
) -> None:
    """A tiled, compressed GeoTIFF (bands, H, W) with a name for each band."""
    predictor = 3 if np.issubdtype(bands.dtype, np.floating) else 2
    count, height, width = bands.shape
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=count,
        height=height,
        width=width,
        dtype=bands.dtype,
        crs=crs,
        transform=transform,
        tiled=True,
        blockxsize=256,
        blockysize=256,
        compress="deflate",
        predictor=predictor,
        zlevel=9,
        **profile,
    ) as target:
        target.write(bands)
        target.descriptions = descriptions
        if colours:
            target.colorinterp = colours


if __name__ == "__main__":
    main()
