"""A made-up piece of farmland, from the air and from the radar: river, fields, woods, roads and a town.

The layout comes first: which material lies where, and in what state. Two sensors look at it afterwards (`surface`), so
that radar and camera agree where they should and each sees what the other cannot.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cloudfree.arrays import Float64Array, Image, Mask, as_image
from cloudfree.simulate.parcels import Blocks, Canvas, districts, subdivide
from cloudfree.simulate.surface import Ground, Material, slope_towards_sun, with_speckle_db


@dataclass(frozen=True)
class Landscape:
    """Land of H x W pixels as two sensors see it.

    reflectance (4, H, W) float32: surface reflectance, 0..1, in blue, green, red, NIR; without cloud or sensor noise.
    sar_db (2, H, W) float32: sigma0 of VV and VH in dB, with speckle.
    """

    reflectance: Image
    sar_db: Image


def landscape(rng: np.random.Generator, height: int, width: int, *, pixel_size_m: float = 3.0) -> Landscape:
    """A place that does not exist, `height` x `width` pixels; the same generator state gives the same place."""
    ground = ground_layout(Canvas.blank(rng, height, width, pixel_size_m))
    return Landscape(ground.reflectance(), with_speckle_db(rng, ground.backscatter_db(), pixel_size_m))


def ground_layout(canvas: Canvas) -> Ground:
    """The layout, from the oldest layer to the youngest: land, fields, woods, water, town, roads."""
    relief_m = 14 * canvas.noise(2.6, 1500)
    damp = np.clip(0.5 - 0.02 * relief_m + 0.12 * canvas.noise(1.8, 300), 0, 1)
    farms, border_m = _farms(canvas)
    river_m = _distance_to_river_m(canvas)
    ground = _fields(canvas, farms, damp, slope_towards_sun(relief_m, canvas.pixel_size_m))
    _woods(canvas, ground, farms)
    _lanes(canvas, ground, farms)
    height_m, width_m = canvas.size_m
    centre_yx_m = height_m * canvas.rng.uniform(0.3, 0.7), width_m * canvas.rng.uniform(0.3, 0.7)
    _town(canvas, ground, centre_yx_m)
    _water(canvas, ground, river_m)
    _roads(canvas, ground, border_m, river_m, centre_yx_m)
    return ground


def _farms(canvas: Canvas) -> tuple[Blocks, Image]:
    """Fields, laid out district by district, each in its own direction; and the distance to the districts' borders."""
    district, border_m = districts(canvas, spacing_m=950)
    angles = canvas.rng.uniform(0, math.pi) + canvas.rng.normal(0, 0.5, district.max() + 1)
    return subdivide(canvas, district, angles, side_m=230, lane_cuts=2), border_m


def _fields(canvas: Canvas, farms: Blocks, damp: Image, slope: Image) -> Ground:
    """Parcels in strips, each with its crop, stage and soil; rows and tram lines run along the strip."""
    rng, count = canvas.rng, len(farms.box)
    strip_m = rng.uniform(35, 160, count).astype(np.float32)
    lengthwise = rng.random(count) < 0.5
    endless = np.float32(1e6)
    key, _, _ = farms.cells(np.where(lengthwise, strip_m, endless), np.where(lengthwise, endless, strip_m))
    parcel = np.unique(key, return_inverse=True)[1].reshape(canvas.shape)
    parcels = int(parcel.max()) + 1

    kind = rng.choice([Material.CROP, Material.SOIL, Material.GRASS], parcels, p=[0.62, 0.18, 0.2]).astype(np.uint8)
    density = np.where(kind == Material.CROP, rng.beta(2.2, 1.1, parcels), 0.4)
    ripeness = np.where(rng.random(parcels) < 0.3, rng.uniform(0.5, 1, parcels), rng.uniform(0, 0.2, parcels))
    across_m = np.where(lengthwise[farms.block], farms.u_m, farms.v_m)
    material = kind[parcel]
    tram = (material == Material.CROP) & (np.mod(across_m, 24) < 3)
    soil_patches = 0.1 * canvas.noise(1.7, 120)
    wetness = damp + rng.normal(0, 0.14, parcels)[parcel] - soil_patches
    vigour = density[parcel] + soil_patches + 0.25 * (damp - 0.5) - 0.12 * tram
    streaks = rng.normal(0, 0.03, 4096)[np.floor(across_m / 4).astype(np.int32) % 4096]
    tone = rng.lognormal(0, 0.13, parcels)[parcel] * (1 + streaks + 0.03 * canvas.noise(1.2, 40))
    states = {"vigour": np.clip(vigour, 0, 1), "ripeness": ripeness[parcel], "wetness": np.clip(wetness, 0, 1)}
    images = {name: as_image(state) for name, state in {**states, "tone": tone}.items()}
    return Ground(material, **images, slope=slope, pixel_size_m=canvas.pixel_size_m)


def _woods(canvas: Canvas, ground: Ground, farms: Blocks) -> None:
    """Woods, which keep to the blocks but not quite, and hedges along some of their borders."""
    place = canvas.noise(2.3, 700)
    of_block = ndimage.mean(place, farms.block, np.arange(len(farms.box)))[farms.block]
    score = 0.6 * of_block + 0.35 * place + 0.08 * canvas.noise(1.5, 60)
    wood = score > np.quantile(score, 1 - canvas.rng.uniform(0.14, 0.3))
    hedged = (canvas.rng.random(len(farms.box)) < 0.4)[farms.block]
    ragged = canvas.noise(1.0, 40)
    hedge = hedged & (farms.edge_m < 5 + 2 * ragged) & (ragged > -0.7)
    crowns = _crowns(canvas)
    ground.paint(hedge, Material.SHRUB, crowns)
    ground.paint(wood, Material.TREES, crowns)
    stand = np.clip(0.6 + 0.22 * canvas.noise(2.0, 200), 0, 1)
    ground.vigour[wood] = stand[wood]
    # Younger, denser stands are also brighter, so that radar and camera tell the same story.
    ground.tone[wood] *= (0.7 + 0.5 * stand)[wood]


def _crowns(canvas: Canvas) -> Image:
    """Brightness of tree crowns, some 8 m wide, lit from one side."""
    tops = canvas.noise(1.2, 9)
    return np.clip(1 + 0.13 * tops + 0.5 * slope_towards_sun(tops, canvas.pixel_size_m), 0.45, 1.7)


def _lanes(canvas: Canvas, ground: Ground, farms: Blocks) -> None:
    """Field tracks along the oldest cuts, with a grassy verge."""
    wooded = ground.material == Material.TREES
    verge = (farms.lane_m < 6) & (canvas.noise(1.2, 30) > -0.3)
    ground.paint(verge & ~wooded, Material.GRASS, ground.tone)
    ground.paint((farms.lane_m < 2.3) & ~wooded, Material.TRACK, 1 + 0.08 * canvas.noise(1.0, 30))


def _town(canvas: Canvas, ground: Ground, centre_yx_m: tuple[float, float]) -> None:
    """Street blocks around a centre: dense within, gardens without, a park here and a factory there."""
    rng = canvas.rng
    one = np.zeros(canvas.shape, np.int32)
    streets = subdivide(canvas, one, rng.uniform(0, math.pi, 1), side_m=85, lane_cuts=3)
    count = len(streets.box)
    radius_m = min(rng.uniform(280, 430), 0.3 * min(canvas.size_m))
    distance = np.hypot(canvas.y_m - centre_yx_m[0], canvas.x_m - centre_yx_m[1]) / radius_m
    remote = ndimage.mean(distance + 0.22 * canvas.noise(2.0, 300), streets.block, np.arange(count))
    town = (remote < 1)[streets.block]

    kind = rng.random(count)
    park, works = kind < 0.07, (kind > 0.86) & (remote > 0.45)
    ground.paint(town, Material.GARDEN, 1 + 0.16 * canvas.noise(1.0, 20))
    ground.paint(town & park[streets.block], Material.GRASS)
    trees = town & (canvas.noise(1.3, 35) > np.where(park[streets.block], 0.4, 1.0))
    ground.paint(trees, Material.TREES, _crowns(canvas))
    _houses(rng, ground, streets, built=(remote < 1) & ~park, works=works, centrality=np.clip(1 - remote, 0, 1))
    street = town & (streets.edge_m < np.where(streets.lane_m < 5, 4.5, 3.2))
    ground.paint(street, Material.ASPHALT, 1 + 0.06 * canvas.noise(1.0, 20))


def _houses(
    rng: np.random.Generator,
    ground: Ground,
    streets: Blocks,
    *,
    built: Mask,
    works: Mask,
    centrality: Float64Array,
) -> None:
    """One building a lot, if any, square to the street: tiled in general, large and pale at the works."""
    lot_m = np.where(works, rng.uniform(45, 80, len(built)), rng.uniform(17, 24, len(built))).astype(np.float32)
    key, across, down = streets.cells(lot_m, lot_m * np.float32(1.2))
    lots = 65536
    draw = key % lots
    block = streets.block
    roomy = (0.27 + 0.16 * np.maximum(centrality, works * 0.6))[block]
    half = rng.uniform(0.7, 1.0, (2, lots))[:, draw] * roomy
    inhabited = rng.random(lots)[draw] < 0.6 + 0.4 * centrality[block]
    house = built[block] & inhabited & (np.abs(across) < half[0]) & (np.abs(down) < half[1]) & (streets.edge_m > 5)
    roof = rng.choice([Material.TILE_ROOF, Material.GREY_ROOF, Material.BRIGHT_ROOF], lots, p=[0.62, 0.32, 0.06])
    pale = rng.choice([Material.GREY_ROOF, Material.BRIGHT_ROOF], lots, p=[0.55, 0.45])
    shade = rng.lognormal(0, 0.25, lots)[draw]
    ground.material[house] = np.where(works[block], pale[draw], roof[draw])[house]
    ground.tone[house] = shade[house]


def _distance_to_river_m(canvas: Canvas) -> Image:
    """Distance (H, W) to the bank of a meandering river, negative in the water.

    The centre line is a sine-generated curve, the path of least bending (Langbein and Leopold 1966).
    """
    rng, step_m = canvas.rng, canvas.pixel_size_m / 2
    reach_m = 2.5 * math.hypot(*canvas.size_m)
    along = np.arange(-reach_m, reach_m, step_m)
    pace = 1 + 0.35 * np.sin(along / rng.uniform(500, 900) + rng.uniform(0, 6))
    phase = rng.uniform(0, 2 * math.pi) + np.cumsum(pace) * step_m * 2 * math.pi / rng.uniform(1000, 1500)
    heading = rng.uniform(0, math.pi) + rng.uniform(0.8, 1.15) * np.sin(phase)
    y, x = np.cumsum(np.sin(heading)) * step_m, np.cumsum(np.cos(heading)) * step_m
    middle = len(along) // 2
    y += canvas.size_m[0] * rng.uniform(0.3, 0.7) - y[middle]
    x += canvas.size_m[1] * rng.uniform(0.3, 0.7) - x[middle]

    # Beyond the canvas too, or the banks would bend where the river leaves it.
    margin = 30
    rows, columns = (np.floor(axis / canvas.pixel_size_m).astype(int) + margin for axis in (y, x))
    dry = np.ones((canvas.shape[0] + 2 * margin, canvas.shape[1] + 2 * margin), bool)
    inside = (rows >= 0) & (rows < dry.shape[0]) & (columns >= 0) & (columns < dry.shape[1])
    dry[rows[inside], columns[inside]] = False
    distance = ndimage.distance_transform_edt(dry)[margin:-margin, margin:-margin] * canvas.pixel_size_m
    half_width_m = rng.uniform(14, 26) * (1 + 0.12 * canvas.noise(2.0, 400)) + 1.5 * canvas.noise(1.4, 60)
    return as_image(distance - half_width_m)


def _water(canvas: Canvas, ground: Ground, river_m: Image) -> None:
    """The river, with trees along it, and sand where the stream is slack."""
    built = ground.material >= Material.ASPHALT
    growth = canvas.noise(1.6, 90)
    bank = river_m < 14 + 14 * growth
    ground.paint(bank & ~built, Material.GRASS)
    ground.paint(bank & (growth > -0.2) & (river_m < 4 + 16 * growth) & ~built, Material.TREES, _crowns(canvas))
    ground.paint((river_m < 5) & (canvas.noise(1.8, 150) > 0.8), Material.SAND, 1 + 0.05 * canvas.noise(1.0, 20))
    ground.paint(river_m < 0, Material.WATER, 1 + 0.06 * canvas.noise(2.0, 300))


def _roads(canvas: Canvas, ground: Ground, border_m: Image, river_m: Image, centre_yx_m: tuple[float, float]) -> None:
    """By-roads between the districts, and two highways that meet in town and bridge the river."""
    surface = 1 + 0.07 * canvas.noise(1.2, 40)
    ground.paint((border_m < 2.8) & (river_m > 4), Material.ASPHALT, surface)
    for main_axis in (0, 1):
        road_m = _distance_to_road_m(canvas, main_axis, centre_yx_m)
        open_land = ground.material < Material.ASPHALT
        ground.paint((road_m < 10) & open_land & (river_m > 4), Material.GRASS)
        ground.paint(road_m < 4.6, Material.ASPHALT, surface)


def _distance_to_road_m(canvas: Canvas, main_axis: int, centre_yx_m: tuple[float, float]) -> Image:
    """Distance (H, W) to a swinging road through the centre, which crosses the canvas down (0) or across (1)."""
    rng = canvas.rng
    along, aside = (canvas.y_m, canvas.x_m) if main_axis == 0 else (canvas.x_m, canvas.y_m)
    run = along - np.float32(centre_yx_m[main_axis])
    incline, swing_m, wavelength_m = rng.uniform(-0.4, 0.4), rng.uniform(20, 70), rng.uniform(900, 1600)
    turn = run * np.float32(2 * math.pi / wavelength_m)
    line = np.float32(centre_yx_m[1 - main_axis]) + incline * run + swing_m * np.sin(turn)
    gradient = incline + swing_m * 2 * math.pi / wavelength_m * np.cos(turn)
    return as_image(np.abs(aside - line) / np.hypot(1, gradient))
