"""Real files, where they are: PlanetScope and Sentinel-1 as users have them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import Result
from rio_cogeo.cogeo import cog_validate
from support import write_raster

from cloudfree.bands import Qa
from cloudfree.errors import InputError
from cloudfree.geometry import Grid
from cloudfree.inputs.inspection import inspect
from cloudfree.inputs.masks.mask import identify_udm2
from cloudfree.inputs.optical.quantity import QuantityOptions
from cloudfree.inputs.optical.scene import identify_scene
from cloudfree.inputs.radar.image import identify_sar

Cli = Callable[..., Result]


def sar_to_fit(shared_data: Path, scene: Path, target: Path) -> Path:
    """A real Sentinel-1 image, laid over a scene that it does not belong to."""
    source = next((shared_data / "pairs").glob("terramind_38D*_sar.tif"))
    with rasterio.open(source) as dataset, rasterio.open(scene) as over:
        values, bounds, crs = np.tile(dataset.read(), (1, 4, 4)), over.bounds, over.crs
    return write_raster(
        target, values, Affine(10, 0, bounds.left - 40, 0, -10, bounds.top + 40), crs, descriptions=("VV", "VH")
    )


@pytest.mark.slow
def test_the_m3r_cr_quartet(shared_data: Path, cli: Cli, tmp_path: Path) -> None:
    folder = shared_data / "planet" / "m3r-cr" / "train"
    cloudy, sar = next(folder.glob("planet_cloudy*/*/*.tif")), next(folder.glob("S1*/*/*.tif"))
    out, qa = tmp_path / "out.tif", tmp_path / "qa.tif"
    result = cli("run", "--planet", cloudy, "--sar", sar, "-o", out, "--qa", qa, "--find-clouds", "never")
    assert result.exit_code == 0, result.output
    assert cog_validate(out, strict=True, quiet=True)[0]
    with rasterio.open(cloudy) as before, rasterio.open(out) as after, rasterio.open(qa) as quality:
        assert (before.crs, before.transform, before.shape) == (after.crs, after.transform, after.shape)
        classes, changed = quality.read(1), (before.read() != after.read()).any(axis=0)
    assert (classes == Qa.RECONSTRUCTED).mean() > 0.98  # the SAR grid begins two metres inside
    assert changed[classes == Qa.RECONSTRUCTED].mean() > 0.9
    assert not changed[classes == Qa.OBSERVED].any()


@pytest.mark.slow
def test_the_coastline_scene(shared_data: Path, cli: Cli, tmp_path: Path) -> None:
    folder = shared_data / "planet" / "coastline"
    scene, udm = next(folder.glob("*_SR_clip.tif")), next(folder.glob("*udm_clip.tif"))
    assert "atmospheric correction tag" in str(identify_scene(scene).reasons[1])
    out, sar = tmp_path / "out.tif", sar_to_fit(shared_data, scene, tmp_path / "s1.tif")
    options = ("--weights", "identity", "--mask", udm, "--tile", 256)
    result = cli("run", "--planet", scene, "--sar", sar, "-o", out, *options)
    assert result.exit_code == 0, result.output
    with rasterio.open(scene) as before, rasterio.open(out) as after:
        dn, result_dn = before.read(), after.read()
    np.testing.assert_array_equal(result_dn.any(axis=0), dn.any(axis=0))
    assert 0.3 < (result_dn == dn).all(axis=0).mean() <= 1


def test_radiance_is_scaled_by_its_xml(shared_data: Path) -> None:
    folder = shared_data / "planet" / "tmask"
    scene = identify_scene(next(folder.glob("*_AnalyticMS.tif")))
    assert scene.quantity == "top-of-atmosphere radiance"
    assert scene.scale[0] == pytest.approx(1.97703553546e-05)
    part = folder / "633841_1932520_2017-07-19_1004_subarea.tif"  # of radiance, as its name does not say
    with pytest.raises(InputError, match="as PlanetScope's radiance is"):
        identify_scene(part)
    surface = QuantityOptions("surface-reflectance")
    assert identify_scene(part, options=surface).grid.pixel_size_m == pytest.approx(3.2, abs=0.2)


@pytest.mark.slow
def test_udm2_files_before_and_after_superdove(shared_data: Path) -> None:
    for path in sorted((shared_data / "planet" / "sumatra-udm2").glob("*udm2_clip.tif")):
        (inspection,) = inspect([path])
        assert inspection.kind == "PlanetScope usable data mask (UDM2)"
        with rasterio.open(path) as dataset:
            grid, bands = Grid.of(dataset), dataset.read()
        with identify_udm2(path, grid).open() as reader:
            np.testing.assert_array_equal(reader.on_grid(grid), bands[2:6].any(axis=0))


def test_every_sentinel1_image_is_understood(shared_data: Path) -> None:

    for path in sorted((shared_data / "pairs").glob("*_sar.tif")):
        with rasterio.open(path) as dataset:
            grid = Grid.of(dataset)
        image = identify_sar([path], grid)
        assert image.vv.units == "db"
        assert image.vv.median_db > image.vh.median_db


def test_an_optical_image_is_no_sentinel1(shared_data: Path) -> None:
    path = next((shared_data / "pairs").glob("terramind_38D*_optical.tif"))
    with rasterio.open(path) as dataset:
        grid = Grid.of(dataset)
    with pytest.raises(InputError):
        identify_sar([path], grid)
