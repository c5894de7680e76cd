"""Strips of a scene equal the whole, mask and radar included; windows show the same pixels."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from cloudfree.geometry import Displacement
from cloudfree.inputs.files import InputOptions, Inputs, identify
from cloudfree.inputs.location.source import Source
from cloudfree.reconstruct.feather import Feather
from cloudfree.reconstruct.strips import Fill, StripReader

H, W = 130, 90


@pytest.fixture
def inputs(make_scene: Callable[..., Path], make_sar: Callable[..., Path], make_mask: Callable[..., Path]) -> Inputs:
    mask = np.zeros((H, W))
    mask[60:64, 30:50] = 1
    return identify(InputOptions(planet=make_scene(H, W), sar=(make_sar(),), mask=make_mask(mask)))


def test_strips_equal_the_whole(inputs: Inputs) -> None:
    grid = inputs.scene.grid
    moved = Displacement(grid, (7.0,), (-4.0,))
    with inputs.open() as reader:
        strips = StripReader(reader, moved, Feather.of_pixel_size(grid.pixel_size_m))
        whole = strips.read(0, H)
        assert 0 < (whole.cloud_weight == 1).mean() < (whole.cloud_weight > 0).mean() < 1
        for start in range(0, H, 33):
            part, expected = strips.read(start, min(start + 33, H)), whole.rows(start, min(start + 33, H))
            assert (part.start, part.stop) == (expected.start, expected.stop)
            for name in ("dn", "sar_db", "cloud_weight"):
                np.testing.assert_array_equal(getattr(part, name), getattr(expected, name))


@pytest.mark.parametrize("extent", ["clouds", "all"])
def test_radar_is_read_where_tiles_may_ask_for_it(
    extent: Literal["clouds", "all"],
    make_scene: Callable[..., Path],
    make_sar: Callable[..., Path],
    make_mask: Callable[..., Path],
) -> None:
    mask = np.zeros((40, 1200))
    mask[10:20, 30:60] = 1
    files = InputOptions(planet=make_scene(40, 1200), sar=(make_sar(500),), mask=make_mask(mask))
    inputs, fill = identify(files), Fill(extent)
    grid, tiles = inputs.scene.grid, [slice(0, 450), slice(350, 800), slice(750, 1200)]
    with inputs.open() as reader:
        whole = StripReader(reader, Displacement(grid), Feather.of_pixel_size(grid.pixel_size_m)).read(0, 40)
        some = StripReader(reader, Displacement(grid), Feather.of_pixel_size(grid.pixel_size_m), fill, tiles).read(
            0, 40
        )
    assert whole.sar_valid.all()
    np.testing.assert_array_equal(some.sar_db[..., tiles[0]], whole.sar_db[..., tiles[0]])
    np.testing.assert_array_equal(some.blend_weight(fill), whole.blend_weight(fill))
    assert some.sar_valid[:, -100:].all() == (extent == "all")


def test_a_window_shows_what_strips_show(inputs: Inputs) -> None:
    grid = inputs.scene.grid
    with inputs.open() as reader:
        strip = StripReader(reader, Displacement(grid), Feather(0, 1)).read(50, 90)
        seen = reader.window(50, 20, 40, 60)
    np.testing.assert_array_equal(seen.dn, strip.dn[:, :, 20:80])
    np.testing.assert_allclose(seen.sar_db, strip.sar_db[:, :, 20:80], atol=1e-4)
    np.testing.assert_array_equal(seen.cloudy, strip.cloud_weight[:, 20:80] == 1)
    assert seen.cloudy.sum() == 4 * 20
    assert seen.clear.sum() == 40 * 60 - 80


def test_what_is_reconstructed_needs_data_and_radar_or_a_word(inputs: Inputs) -> None:
    grid = inputs.scene.grid
    with inputs.open() as reader:
        strip = StripReader(reader, Displacement(grid), Feather.of_pixel_size(grid.pixel_size_m)).read(0, H)
    strip.dn[:, :10] = 0
    strip.sar_valid[-10:] = False
    everything = strip.blend_weight(Fill("all"))
    assert (everything[10:-10] == 1).all()
    assert not everything[:10].any()
    assert not everything[-10:].any()
    np.testing.assert_array_equal(strip.blend_weight(Fill("clouds"))[10:], strip.cloud_weight[10:])
    strip.cloud_weight[-5:] = 1
    for without_sar, expected in (("fill", 1), ("keep", 0), ("nodata", 0)):
        for extent in ("clouds", "all"):
            assert (strip.blend_weight(Fill(extent, without_sar))[-5:] == expected).all()


def test_options_take_paths_as_people_write_them() -> None:
    told = InputOptions.of("a.tif", "b.tif", mask="c.tif")
    assert told == InputOptions(planet=Path("a.tif"), sar=(Path("b.tif"),), mask=Path("c.tif"))
    assert InputOptions.of(Path("a.tif"), ["b.tif", Path("d.tif")]).sar == (Source.of("b.tif"), Source.of("d.tif"))
