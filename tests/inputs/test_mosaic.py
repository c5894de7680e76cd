"""Several Sentinel-1 files of one scene, against the ground as a formula has it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from pyproj import Transformer
from rasterio.crs import CRS
from safe_support import SafeRecipe, sigma0_db
from support import ORIGIN, UTM33, write_raster

from cloudfree.errors import GridError, InputError
from cloudfree.geometry import Grid
from cloudfree.inputs.radar.image import SarOptions, identify_sar
from cloudfree.inputs.radar.mosaic import FEATHER_M, blend_weights

SCENE = Grid(UTM33, Affine(3, 0, ORIGIN[0], 0, -3, ORIGIN[1]), 96, 80)
WIDE = Grid(UTM33, Affine(10, 0, ORIGIN[0] - 1000, 0, -10, ORIGIN[1] + 600), 200, 120)
"""Of the files: around the scene, in pixels of radar."""


def ground_db(grid: Grid) -> np.ndarray:
    """VV and VH (2, H, W) at the pixel centres."""
    rows, cols = np.mgrid[: grid.height, : grid.width] + 0.5
    return sigma0_db(*(grid.transform @ (cols, rows)))


def power(db: np.ndarray) -> np.ndarray:
    return (10 ** (db / 10)).astype(np.float32)


def write(path: Path, grid: Grid, values: np.ndarray, *names: str) -> Path:
    return write_raster(path, values.astype(np.float32), grid.transform, grid.crs, descriptions=names or None)


def frame(path: Path, first: int, last: int, to: Callable = power) -> Path:
    """Columns of the ground as one file with both polarisations."""
    part = WIDE.window(0, first, WIDE.height, last - first)
    return write(path, part, to(ground_db(part)), "VV", "VH")


def on_grid(paths: list[Path], grid: Grid = SCENE, **options: object) -> np.ndarray:
    with identify_sar(paths, grid, SarOptions(**options)).open() as reader:
        return reader.on_grid(grid)


def single(folder: Path, first: int, last: int, stem: str) -> list[Path]:
    """Columns of the ground as a file of each polarisation."""
    part = WIDE.window(0, first, WIDE.height, last - first)
    bands = zip(("VV", "VH"), power(ground_db(part)), strict=True)
    return [write(folder / stem.format(name), part, band[None]) for name, band in bands]


def two_frames(folder: Path) -> list[Path]:
    return [frame(folder / "S1A_a.tif", 0, 118), frame(folder / "S1A_b.tif", 110, 200)]


def tiles_without_overlap(folder: Path) -> list[Path]:
    return [frame(folder / "s1-0.tif", 0, 114), frame(folder / "s1-114.tif", 114, 200)]


def dB_and_power(folder: Path) -> list[Path]:  # noqa: N802
    return [frame(folder / "a.tif", 0, 118, to=np.asarray), frame(folder / "b.tif", 110, 200)]


def bursts(folder: Path) -> list[Path]:
    name = "OPERA_L2_RTC-S1_T073-15530{}-IW2_20240612T165815Z_20240613T010203Z_S1A_30_v1.0_{{}}.tif"
    return [*single(folder, 0, 118, name.format(4)), *single(folder, 110, 200, name.format(5))]


def one_grid_twice(folder: Path) -> list[Path]:
    """Four files whose names do not say which belong together, in any order."""
    a, b = single(folder, 0, 200, "a_{}.tif"), single(folder, 0, 200, "b_{}.tif")
    return [b[1], a[0], a[1], b[0]]


def vv_whole_and_vh_in_two(folder: Path) -> list[Path]:
    vv, other = single(folder, 0, 200, "whole_{}.tif")
    other.unlink()
    return [vv, single(folder, 0, 118, "west_{}.tif")[1], single(folder, 110, 200, "east_{}.tif")[1]]


def two_projections(folder: Path) -> list[Path]:
    """The second in longitude and latitude, with nodata around."""
    lonlat = CRS.from_epsg(4326)
    left, lower, right, upper = WIDE.footprint(lonlat).bounds
    grid = Grid(lonlat, Affine((right - left) / 240, 0, left, 0, -(upper - lower) / 140, upper), 240, 140)
    rows, cols = np.mgrid[: grid.height, : grid.width] + 0.5
    x, y = Transformer.from_crs(lonlat, UTM33, always_xy=True).transform(*(grid.transform @ (cols, rows)))
    values = np.where(x > ORIGIN[0] + 100, power(sigma0_db(x, y)), np.nan)
    return [frame(folder / "S1A_a.tif", 0, 118), write(folder / "S1A_b.tif", grid, values, "VV", "VH")]


def safe_and_raster(folder: Path) -> list[Path]:
    return [SafeRecipe().write(folder), frame(folder / "S1A_b.tif", 110, 200)]


@pytest.mark.parametrize(
    "make",
    [
        two_frames,
        tiles_without_overlap,
        dB_and_power,
        bursts,
        one_grid_twice,
        vv_whole_and_vh_in_two,
        two_projections,
        safe_and_raster,
    ],
)
def test_files_together_are_the_ground(tmp_path: Path, make: Callable) -> None:
    result_db = on_grid(make(tmp_path))
    assert np.isfinite(result_db).all()
    off = np.abs(result_db - ground_db(SCENE))
    assert np.percentile(off, 99) < 0.2
    assert off.max() < 0.5


def test_what_one_lacks_the_other_fills(tmp_path: Path) -> None:
    first = frame(tmp_path / "a.tif", 0, 200)
    values = power(ground_db(WIDE))
    values[:, 62:72, 104:112] = np.nan  # in the midst of the scene
    holed = write(tmp_path / "b.tif", WIDE, values, "VV", "VH")
    assert np.isnan(on_grid([holed])).any()
    for paths in ([first, holed], [holed, first]):
        result_db = on_grid(paths)
        assert np.isfinite(result_db).all()
        assert np.abs(result_db - ground_db(SCENE)).max() < 0.5


def stepped(folder: Path, overlap_px: int = 80) -> list[Path]:
    """Two flat frames, VV at -10 and -7 dB, which overlap in the middle columns of `WIDE`."""
    paths = []
    for name, first, last, vv in (
        ("a.tif", 0, 100 + overlap_px // 2, -10.0),
        ("b.tif", 100 - overlap_px // 2, 200, -7.0),
    ):
        part = WIDE.window(0, first, WIDE.height, last - first)
        paths.append(write(folder / name, part, np.stack(np.broadcast_arrays(vv, vv - 7, np.zeros(part.shape)))[:2]))
    return paths


def test_the_seam_lies_in_the_middle_of_the_overlap_and_fades_in_power(tmp_path: Path) -> None:
    result_db = on_grid(stepped(tmp_path), WIDE)
    across = result_db[0, 60]
    reach = round(FEATHER_M / 2 / 10)
    np.testing.assert_allclose(across[: 100 - reach], -10, atol=1e-3)
    np.testing.assert_allclose(across[100 + reach :], -7, atol=1e-3)
    middle = 10 * np.log10((10**-1.0 + 10**-0.7) / 2)
    np.testing.assert_allclose(across[99:101].mean(), middle, atol=0.01)
    assert (np.diff(across) >= -1e-4).all()
    assert np.diff(across).max() < 0.3
    np.testing.assert_allclose(result_db[0] - result_db[1], 7, atol=1e-3)


def test_a_feather_is_no_wider_than_a_narrow_overlap(tmp_path: Path) -> None:
    """It would end in steps at the overlap's rims, which a network takes for the edges of fields."""
    across = on_grid(stepped(tmp_path, overlap_px=14), WIDE)[0, 60]
    np.testing.assert_allclose(across[[92, 107]], [-10, -7], atol=1e-3)
    assert (np.diff(across) >= -1e-4).all()
    assert np.diff(across).max() < 0.5  # 3 dB over 14 pixels; a step of a third of that at a rim would be 1 dB
    across_m = np.linspace(0, 140, 15)
    np.testing.assert_allclose(
        blend_weights(np.ones((2, 1, 15), bool), np.stack([across_m, across_m[::-1]])[:, None])[0, 0, [0, 7, 14]],
        [0, 0.5, 1],
    )


def test_strips_of_a_mosaic_equal_the_whole(tmp_path: Path) -> None:
    with identify_sar(stepped(tmp_path), WIDE).open() as reader:
        whole = reader.on_grid(WIDE)
        strips = [reader.on_grid(WIDE.rows(start, start + 24)) for start in range(0, 120, 24)]
    np.testing.assert_allclose(np.concatenate(strips, axis=1), whole, atol=1e-3)


def test_the_seam_keeps_away_from_the_edge_of_the_data_within_a_file(tmp_path: Path) -> None:
    """Of a frame that lies aslant in its raster, the data's edge counts, not the raster's."""
    first, _ = stepped(tmp_path)
    values = np.stack([np.full(WIDE.shape, -7.0), np.full(WIDE.shape, -14.0)])
    rows, cols = np.indices(WIDE.shape)
    values[:, cols < 60 + rows // 4] = np.nan
    aslant = write(tmp_path / "aslant.tif", WIDE, values)
    across = on_grid([first, aslant], WIDE)[0]
    assert np.isfinite(across).all()
    assert np.abs(np.diff(across, axis=1)).max() < 0.3
    assert across[118, 92] == pytest.approx(-10, abs=0.05)  # just inside the data of the slanting frame


def test_of_files_that_cover_the_same_the_first_is_shown(tmp_path: Path) -> None:
    """Speckle of two dates is not averaged, not even at the edges that exports of one area share."""
    flat = [np.full((2, *WIDE.shape), vv) - np.array([0, 7])[:, None, None] for vv in (-10.0, -8.0)]
    flat[0][:, 50:55, 70:80] = np.nan
    paths = [write(tmp_path / f"{n}.tif", WIDE, values, "VV", "VH") for n, values in enumerate(flat)]
    for order, shown in ((paths, -10), (paths[::-1], -8)):
        result_db = on_grid(order, WIDE)[0]
        assert np.isfinite(result_db).all()
        assert (result_db == shown).mean() > 0.95
    assert (on_grid(paths, WIDE)[0, 51:54, 71:79] == -8).all()


def test_corners_of_tiles_are_whole_on_a_coarser_grid(tmp_path: Path) -> None:
    """Four tiles meet within a coarse pixel, of which each covers a quarter."""
    paths = []
    for row in (0, 60):
        for col in (0, 100):
            part = WIDE.window(row, col, 60, 100)
            paths.append(write(tmp_path / f"{row}_{col}.tif", part, power(ground_db(part)), "VV", "VH"))
    coarse = Grid(UTM33, WIDE.transform @ Affine.translation(-30, -30) @ Affine.scale(20), 13, 9)
    result_db, mean = on_grid(paths, coarse), on_grid([frame(tmp_path / "all.tif", 0, 200)], coarse)
    assert (np.isfinite(result_db) == np.isfinite(mean)).all()
    assert np.isfinite(result_db[:, 2:-2, 2:-3]).all()
    inside = np.s_[:, 2:-2, 2:-3]
    np.testing.assert_allclose(result_db[inside], mean[inside], atol=0.05)


def test_weights_of_many_images_sum_to_one() -> None:
    random = np.random.default_rng(0)
    valid = random.random((5, 20, 30)) < 0.6
    weights = blend_weights(valid, random.uniform(-10, 1000, valid.shape))
    np.testing.assert_allclose(weights.sum(axis=0), valid.any(axis=0), atol=1e-6)
    assert (weights[~valid] == 0).all()


def test_files_that_show_nothing_of_the_scene_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    good, far = frame(tmp_path / "good.tif", 0, 200), frame(tmp_path / "far.tif", 0, 60)
    empty = write(tmp_path / "empty.tif", WIDE, np.full((2, *WIDE.shape), np.nan), "VV", "VH")
    np.testing.assert_array_equal(on_grid([far, good, empty]), on_grid([good]))
    assert "far.tif does not overlap the scene" in caplog.text
    assert "empty.tif has no valid pixel over the scene" in caplog.text
    with pytest.raises(GridError, match=r"far.tif does not overlap the scene"):
        on_grid([far])
    with pytest.raises(GridError, match=r"far.tif and near.tif do not overlap the scene; .* needed"):
        on_grid([far, frame(tmp_path / "near.tif", 20, 70)])
    with pytest.raises(InputError, match="no valid pixel"):
        on_grid([empty, write(tmp_path / "void.tif", WIDE, np.full((2, *WIDE.shape), np.nan), "VV", "VH")])


def test_a_frame_of_vv_alone_beside_others_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    vv, vh = single(tmp_path, 110, 200, "east_{}.tif")
    vh.unlink()
    result_db = on_grid([frame(tmp_path / "west.tif", 0, 118), vv])
    assert np.isfinite(result_db[0]).all()
    assert 0.2 < np.isfinite(result_db[1]).mean() < 0.9
    assert "east_VV.tif has no file of the other polarisation" in caplog.text


def test_band_numbers_are_of_each_file_or_of_two_one_each(tmp_path: Path) -> None:
    parts = [WIDE.window(0, 0, 120, 118), WIDE.window(0, 110, 120, 90)]
    swapped = [write(tmp_path / f"{n}.tif", part, power(ground_db(part)[::-1])) for n, part in enumerate(parts)]
    assert np.abs(on_grid(swapped, band_numbers=(2, 1)) - ground_db(SCENE)).max() < 0.5
    one_each = single(tmp_path, 0, 200, "x{}y.tif")
    assert np.abs(on_grid(one_each, band_numbers=(1, 1)) - ground_db(SCENE)).max() < 0.5
    with pytest.raises(InputError, match="--sar-bands 3,1 does not fit"):
        on_grid(swapped, band_numbers=(3, 1))


def test_what_cannot_be_joined_is_one_clear_line(tmp_path: Path) -> None:
    good = frame(tmp_path / "good.tif", 0, 200)
    with pytest.raises(InputError, match=r"good.tif is given twice with --sar"):
        on_grid([good, good])
    dates = [f"{pol}_{day}" for day in ("20240531", "20240612") for pol in ("VV", "VH")]
    stack = write(tmp_path / "stack.tif", WIDE, power(np.tile(ground_db(WIDE), (2, 1, 1))), *dates)
    with pytest.raises(
        InputError, match=r"VV in bands 1, 3 and VH in bands 2, 4, as stacks of dates .*--sar-bands 1,2"
    ):
        on_grid([stack])
    nameless = write(tmp_path / "nameless.tif", WIDE, power(ground_db(WIDE)))
    with pytest.raises(InputError, match=r"nameless.tif with 2 bands"):
        on_grid([good, nameless])
    horizontal = write(tmp_path / "horizontal.tif", WIDE, power(ground_db(WIDE)), "HH", "HV")
    with pytest.raises(InputError, match="--allow-hh-hv"):
        on_grid([good, horizontal])
