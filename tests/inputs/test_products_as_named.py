"""Real products as their providers name and fill them, one a row: what `info` says, and what `run` makes of them.

The ground is the same in all of them, so that a product's observed pixels tell whether bands, scale, offset and nodata
were read as the provider means them.
"""

import json
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import Result
from rasterio.enums import ColorInterp
from scipy.io import netcdf_file
from support import ORIGIN, UTM33, pattern, sar_values_db, write_raster

from cloudfree.errors import InputError
from cloudfree.geometry import Grid
from cloudfree.inputs.optical.reference import identify_reference
from cloudfree.inputs.optical.scene import identify_scene

Cli = Callable[..., Result]

SIDE = 48
GRID = Affine(3, 0, ORIGIN[0], 0, -3, ORIGIN[1])
CLOUD = np.s_[20:24, 20:24]
EDGE = np.s_[:, :, :6]  # without data

PLANET = "20220515_101530_84_2481_3B"
SAFE = "S2B_MSIL2A_20220515T101031_N0400_R022_T33TUL_20220515T161234.SAFE"
LANDSAT = "LC08_L2SP_191029_20220515_20220519_02_T1"
HLS = "HLS.S30.T33TUL.2022135T101031.v2.0"
COEFFICIENTS = (1.9e-5, 2.0e-5, 2.3e-5, 3.5e-5)


def ground() -> np.ndarray:
    """Reflectance x 10000 (4, H, W) of fields and dark water."""
    field = pattern(SIDE, SIDE, 1, 2.0)
    middle, slope = np.array([[300, 550, 450, 2400], [60, 110, 180, -600]])[:, :, None, None]
    values = np.clip(middle + slope * field, 20, 6000)
    values[:, 40:, 40:] = np.array([250, 300, 120, 40])[:, None, None]
    return np.rint(values)


TRUTH = ground()


def of_eight(values: np.ndarray) -> np.ndarray:
    """A SuperDove's eight bands, of which blue, green, red and NIR are the second, fourth, sixth and eighth."""
    other = np.stack([values[0] * 0.8, values[1] * 0.9, values[2] * 1.1, values[3] * 0.6])
    eight = np.empty((8, *values.shape[1:]))
    eight[1::2], eight[::2] = values, other
    return eight


def with_edge(values: np.ndarray, fill: float) -> np.ndarray:
    values = values.copy()
    values[EDGE] = fill
    return values


def one_file(
    name: str,
    *,
    names: Sequence[str | None] | None = None,
    eight: bool = False,
    stored: Callable[[np.ndarray], np.ndarray] = lambda dn: dn,
    dtype: str = "uint16",
    fill: float = 0,
    nodata: float | None = 0,
    order: Sequence[int] | None = None,
    xml: str = "",
    tags: dict[str, str] | None = None,
    colours: Sequence[ColorInterp] | None = None,
) -> Callable[[Path], Path]:
    """Writes a raster of the ground: which bands it has, what their numbers are, what stands where nothing was seen."""

    def write(folder: Path) -> Path:
        bands = of_eight(TRUTH) if eight else TRUTH
        values = with_edge(stored(bands), fill)
        values = values[list(order)] if order else values
        path = write_raster(folder / name, values.astype(dtype), GRID, nodata=nodata, descriptions=names)
        with rasterio.open(path, "r+") as dataset:
            dataset.update_tags(**tags or {})
            if colours:
                dataset.colorinterp = colours
        if xml:
            listed = "".join(
                f"<p:bandSpecificMetadata><p:bandNumber>{number}</p:bandNumber>"
                f"<p:reflectanceCoefficient>{coefficient}</p:reflectanceCoefficient></p:bandSpecificMetadata>"
                for number, coefficient in enumerate(np.repeat(COEFFICIENTS, 2) if eight else COEFFICIENTS, 1)
            )
            (folder / xml).write_text(f'<r xmlns:p="http://schemas.planet.com/ps/v1">{listed}</r>')
        return path

    return write


def radiance(dn: np.ndarray) -> np.ndarray:
    coefficients = np.repeat(COEFFICIENTS, len(dn) // 4)[:, None, None]
    return np.rint(dn * 1e-4 / coefficients)


def hazy_radiance(dn: np.ndarray) -> np.ndarray:
    """With the path radiance of a clear sky, without which the ground is never seen from above."""
    return radiance(dn + np.array([900, 600, 350, 150])[:, None, None])


def collection_2(dn: np.ndarray) -> np.ndarray:
    return np.rint((dn * 1e-4 + 0.2) / 2.75e-5)


def shifted(dn: np.ndarray) -> np.ndarray:
    return dn + 1000


def quad(folder: Path) -> Path:
    """A basemap quad: four bands and an alpha."""
    values = np.concatenate([TRUTH, np.full((1, SIDE, SIDE), 65535)])
    path = write_raster(folder / "L15-1100E-1020N.tif", with_edge(values, 0).astype(np.uint16), GRID)
    with rasterio.open(path, "r+") as dataset:
        dataset.colorinterp = [ColorInterp[name] for name in ("blue", "green", "red", "undefined", "alpha")]
    return path


def bands_in(folder: Path, names: Sequence[str], values: np.ndarray, grid: Affine = GRID, **profile: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, band in zip(names, values, strict=True):
        write_raster(folder / name, band[None], grid, **profile)
    return folder


def safe(folder: Path) -> Path:
    """Sentinel-2 L2A in the layout of ESA, the bands of 20 m and the quality files beside those of 10 m."""
    images = folder / SAFE / "GRANULE" / "L2A_T33TUL_A027090_20220515T101304" / "IMG_DATA"
    values = with_edge(shifted(TRUTH), 0).astype(np.uint16)
    lossless = {"driver": "JP2OpenJPEG", "QUALITY": 100, "REVERSIBLE": "YES"}
    for metres, names, part, grid in (
        (10, ("B02", "B03", "B04", "B08"), values, GRID),
        (20, ("B02", "B03", "B04", "B8A"), values[:, ::2, ::2] + 7, GRID @ Affine.scale(2)),
    ):
        files = [f"T33TUL_20220515T101031_{name}_{metres}m.jp2" for name in (*names, "AOT", "TCI")]
        bands_in(images / f"R{metres}m", files, np.concatenate([part, part[:2]]), grid, **lossless)
    offsets = "".join(f'<BOA_ADD_OFFSET band_id="{band}">-1000</BOA_ADD_OFFSET>' for band in range(13))
    quantity = '<BOA_QUANTIFICATION_VALUE unit="none">10000</BOA_QUANTIFICATION_VALUE>'
    (folder / SAFE / "MTD_MSIL2A.xml").write_text(f"<m>{quantity}{offsets}</m>")
    return folder / SAFE


def ten_metres_alone(folder: Path) -> Path:
    return next(safe(folder).rglob("R10m"))


def metadata_of_safe(folder: Path) -> Path:
    return next(safe(folder).glob("MTD_*.xml"))


def zipped_safe(folder: Path) -> Path:
    product, archive = safe(folder), folder / "product.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        for path in sorted(product.rglob("*.*")):
            opened.write(path, path.relative_to(folder))
    return archive


def landsat_tar(folder: Path) -> Path:
    values = with_edge(collection_2(TRUTH), 0).astype(np.uint16)
    names = [f"{LANDSAT}_{name}.TIF" for name in ("SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B1", "SR_B6")]
    files = bands_in(folder / "files", names, np.concatenate([values, values[:2]]), nodata=0)
    with tarfile.open(folder / f"{LANDSAT}.tar", "w") as archive:
        for path in sorted(files.iterdir()):
            archive.add(path, path.name)
    return folder / f"{LANDSAT}.tar"


def hls(folder: Path) -> Path:
    values = with_edge(TRUTH, -9999).astype(np.int16)
    names = [f"{HLS}.{name}.tif" for name in ("B02", "B03", "B04", "B08", "B8A", "Fmask", "SAA")]
    return bands_in(folder / HLS, names, np.concatenate([values, values[:3] // 2]), nodata=-9999)


def single_bands(*names: str) -> Callable[[Path], Path]:
    return lambda folder: bands_in(folder / "bands", names, with_edge(TRUTH, 0).astype(np.uint16), nodata=0)


def open_eo(folder: Path) -> Path:
    """netCDF as openEO's back ends write it: a variable a band, of one date."""
    path = folder / "openEO.nc"
    with netcdf_file(path, "w") as file:
        file.createDimension("t", 1)
        time = file.createVariable("t", "d", ("t",))
        time[:], time.units, time.standard_name = [19127], "days since 1970-01-01", "time"
        for name, first, step in (("y", GRID.f, GRID.e), ("x", GRID.c, GRID.a)):
            file.createDimension(name, SIDE)
            axis = file.createVariable(name, "d", (name,))
            axis[:], axis.units = first + step * (np.arange(SIDE) + 0.5), "m"
            axis.standard_name = f"projection_{name}_coordinate"
        crs = file.createVariable("crs", "i", ())
        crs.grid_mapping_name, crs.spatial_ref = "transverse_mercator", UTM33.to_wkt()
        for name, band in zip(("B02", "B03", "B04", "B08"), with_edge(TRUTH, -32768), strict=True):
            variable = file.createVariable(name, "h", ("t", "y", "x"))
            variable[:], variable.grid_mapping = band[None], "crs"
    return path


class Row(NamedTuple):
    """A product: how it is written, and the reflectance of one digital number of what `run` makes of it."""

    write: Callable[[Path], Path]
    scale: Sequence[float] = (1e-4,)
    undated: bool = False


COUNTED = tuple(f"b{number}" for number in range(1, 9))
SEN2COR = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
OF_SEN2COR = (0, 0, 1, 2, 2, 3, 3, 3, 3, 0, 1, 2)
FORCE = ("BLUE", "GREEN", "RED", "RE1", "RE2", "RE3", "BROADNIR", "NIR", "SWIR1", "SWIR2")
RGBN = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.undefined]
FRACTION = {"stored": lambda dn: dn * 1e-4, "dtype": "float32", "nodata": None}
PRODUCTS = {
    # --- Planet ---
    "analytic_4b_sr": Row(one_file("20200111_145817_0f1a_3B_AnalyticMS_SR_clip.tif", colours=RGBN)),
    "analytic_8b_sr": Row(one_file(f"{PLANET}_AnalyticMS_SR_8b_harmonized_clip_reproject.tif", eight=True)),
    "8b, bands b1 to b8": Row(one_file(f"{PLANET}_AnalyticMS_SR_8b_clip.tif", eight=True, names=COUNTED)),
    "8b, bands B1 to B8": Row(
        one_file(f"{PLANET}_AnalyticMS_SR_8b.tif", eight=True, names=[name.upper() for name in COUNTED])
    ),
    "8b, bands B01 to B08": Row(
        one_file(f"{PLANET}_AnalyticMS_SR_8b.tif", eight=True, names=[f"B0{number}" for number in range(1, 9)])
    ),
    "8b, as terra names bands": Row(
        one_file(
            f"{PLANET}_AnalyticMS_SR_8b.tif",
            eight=True,
            names=[f"{PLANET}_AnalyticMS_SR_8b_{number}" for number in range(1, 9)],
        )
    ),
    "8b, four of its numbers": Row(
        one_file(
            f"{PLANET}_AnalyticMS_SR_8b.tif", eight=True, order=(7, 5, 3, 1), names=("band8", "band6", "band4", "band2")
        )
    ),
    "8b, as Planet names bands": Row(
        one_file(
            f"{PLANET}_AnalyticMS_SR_8b.tif",
            eight=True,
            names=("Coastal Blue", "Blue", "Green I", "Green", "Yellow", "Red", "Red Edge", "NIR"),
        )
    ),
    "8b, its two greens": Row(
        one_file(
            f"{PLANET}_AnalyticMS_SR_8b.tif",
            eight=True,
            names=("coastal_blue", "blue", "green_i", "green_ii", "yellow", "red", "rededge", "nir"),
        )
    ),
    "4b, bands b1 to b4": Row(one_file("scene.tif", names=COUNTED[:4]), undated=True),
    "analytic_4b with XML": Row(
        one_file(f"{PLANET}_AnalyticMS_clip.tif", stored=radiance, xml=f"{PLANET}_AnalyticMS_metadata_clip.xml"),
        COEFFICIENTS,
    ),
    "analytic_8b with XML": Row(
        one_file(
            f"{PLANET}_AnalyticMS_8b.tif", eight=True, stored=radiance, xml=f"{PLANET}_AnalyticMS_8b_metadata.xml"
        ),
        COEFFICIENTS,
    ),
    "SkySat, in its header": Row(
        one_file(
            "20220515_101530_ssc3_u0001_analytic.tif",
            stored=radiance,
            tags={"TIFFTAG_IMAGEDESCRIPTION": json.dumps({"properties": {"reflectance_coefficients": COEFFICIENTS}})},
        ),
        COEFFICIENTS,
    ),
    "TOAR tool": Row(one_file(f"{PLANET}_AnalyticMS_toar_clip.tif", xml=f"{PLANET}_AnalyticMS_metadata_clip.xml")),
    "orthotile_sr": Row(one_file("3456789_1056413_2022-05-15_1032_BGRN_SR.tif")),
    "8b, four by wavelengths": Row(
        one_file(
            f"{PLANET}_AnalyticMS_SR_8b.tif",
            eight=True,
            order=(7, 5, 3, 1),
            names=("865", "665", "565 nm", "490"),
        )
    ),
    "basemap": Row(one_file("ps_monthly_normalized_analytic_2022_05_mosaic.tif"), undated=True),
    "basemap of the NICFI programme": Row(
        one_file("planet_medres_normalized_analytic_2022-05_mosaic.tif"), undated=True
    ),
    "basemap quad": Row(quad, undated=True),
    "ARPS": Row(one_file("PF-SR_2022-05-15.tif", dtype="int16", fill=-999, nodata=-999)),
    # --- exported, converted, renamed ---
    "Earth Engine, fractions": Row(one_file("ps_20220515.tif", fill=np.nan, names=COUNTED[:4], **FRACTION)),
    "Sentinel Hub, PlanetScope": Row(
        one_file("2022-05-15-00:00_2022-05-15-23:59_PlanetScope_blue_green_red_nir.tif", fill=0, **FRACTION)
    ),
    "undeclared -9999": Row(one_file(f"{PLANET}_SR_c.tif", dtype="int16", fill=-9999, nodata=None)),
    "undeclared -32768": Row(one_file(f"{PLANET}_SR_c.tif", dtype="int16", fill=-32768, nodata=None)),
    "undeclared -1": Row(one_file(f"{PLANET}_SR_c.tif", dtype="int16", fill=-1, nodata=None)),
    "undeclared -999": Row(one_file(f"{PLANET}_SR_c.tif", dtype="float32", fill=-999, nodata=None)),
    "undeclared -1 of fractions": Row(one_file(f"{PLANET}_SR_c.tif", fill=-1, **FRACTION)),
    "undeclared -3.4e38": Row(one_file(f"{PLANET}_SR_c.tif", fill=np.finfo(np.float32).min, **FRACTION)),
    "undeclared 1e20": Row(one_file(f"{PLANET}_SR_c.tif", fill=1e20, **FRACTION)),
    "undeclared 65535": Row(one_file(f"{PLANET}_SR_c.tif", fill=65535, nodata=None)),
    "undeclared 65535 beside 0": Row(one_file(f"{PLANET}_SR_c.tif", fill=65535)),
    "undeclared -9999 as uint16": Row(one_file(f"{PLANET}_SR_c.tif", fill=55537, nodata=None)),
    "undeclared 32767": Row(one_file(f"{PLANET}_SR_c.tif", dtype="int16", fill=32767, nodata=None)),
    # --- Sentinel-2 ---
    "SAFE": Row(safe),
    "SAFE by its metadata": Row(metadata_of_safe),
    "SAFE in a zip": Row(zipped_safe),
    "R10m of a SAFE": Row(ten_metres_alone),
    "stack of a baseline since 04.00": Row(
        one_file(f"{SAFE.removesuffix('.SAFE')}.tif", stored=shifted, names=("B02", "B03", "B04", "B08"))
    ),
    "stack of a baseline since 04.00, shifted back": Row(
        one_file(f"{SAFE.removesuffix('.SAFE')}.tif", names=("B02", "B03", "B04", "B08"))
    ),
    "Earth Engine, all bands, harmonised": Row(
        one_file("20220515T101031_20220515T101304_T33TUL.tif", names=SEN2COR, order=OF_SEN2COR)
    ),
    "Earth Engine, all bands, as they are": Row(
        one_file("20220515T101031_20220515T101304_T33TUL.tif", names=SEN2COR, order=OF_SEN2COR, stored=shifted)
    ),
    "Sentinel-2 with B8A and no product's name": Row(
        one_file("stack.tif", names=SEN2COR, order=OF_SEN2COR), (1e-4,), True
    ),
    "Sentinel-2 with its offset in a tag": Row(
        one_file(
            "20220515_s2_clip.tif",
            stored=shifted,
            tags={"PROCESSING_BASELINE": "05.10", "BOA_ADD_OFFSET_B2": "-1000", "BOA_ADD_OFFSET_B8": "-1000"},
        )
    ),
    "openEO": Row(open_eo),
    "single bands": Row(single_bands("B02.tif", "B03.tif", "B04.tif", "B08.tif"), undated=True),
    "single bands by colour": Row(single_bands("blue.tif", "green.tif", "red.tif", "nir.tif"), undated=True),
    "FORCE": Row(
        one_file(
            "20220515_LEVEL2_SEN2B_BOA.tif",
            names=FORCE,
            order=(0, 1, 2, 2, 3, 3, 0, 3, 1, 2),
            dtype="int16",
            fill=-9999,
            nodata=-9999,
        )
    ),
    # --- HLS and Landsat ---
    "HLS S30": Row(hls),
    "Landsat in a tar": Row(landsat_tar, (2.75e-5,)),
    "Landsat of Earth Engine": Row(
        one_file(
            "LC08_191029_20220515.tif",
            names=("SR_B1", "SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B6", "SR_B7"),
            order=(0, 0, 1, 2, 3, 1, 2),
            stored=collection_2,
        ),
        (2.75e-5,),
    ),
    "Landsat 7": Row(
        one_file("LE07_L2SP_191029_20020515_20200916_02_T1.tif", names=COUNTED[:4], stored=collection_2), (2.75e-5,)
    ),
}


@pytest.mark.parametrize("product", PRODUCTS)
def test_a_scene_is_read_as_its_provider_means_it(cli: Cli, tmp_path: Path, product: str) -> None:
    """Whatever stores it, a product's observed pixels are the ground, and where it saw nothing is nodata."""
    row = PRODUCTS[product]
    path, out = row.write(tmp_path), tmp_path / "out.tif"
    cloud = np.zeros((1, SIDE, SIDE), np.uint8)
    cloud[0][CLOUD] = 1
    mask = write_raster(tmp_path / "cloud_mask.tif", cloud, GRID)
    info = cli("info", path)
    assert (info.exit_code, "nothing that cloudfree can use" in info.output) == (0, False), info.output
    done = cli("run", "--planet", path, "--mask", mask, "-o", out, "--weights", "identity", "--json")
    assert done.exit_code == 0, done.output
    with rasterio.open(out) as dataset:
        made, scale = dataset.read(), np.array(dataset.scales)
    np.testing.assert_allclose(scale, np.broadcast_to(row.scale, 4), rtol=1e-6)
    observed = np.ones((SIDE, SIDE), bool)
    observed[10:34, 10:34] = observed[EDGE[1:]] = False
    off = made * scale[:, None, None] - TRUTH * 1e-4
    # Numbers of another scale are those of the file: the ground to half a step, or to one with an offset taken in.
    assert np.abs(off[:, observed]).max() <= (1e-9 if row.scale == (1e-4,) else 1.01 * max(row.scale))
    assert not made[EDGE].any()
    assert made[:, *CLOUD].all()


@pytest.mark.parametrize("product", PRODUCTS)
def test_a_reference_is_read_as_its_provider_means_it(tmp_path: Path, product: str) -> None:
    row = PRODUCTS[product]
    reference = identify_reference(row.write(tmp_path), Grid(UTM33, GRID, SIDE, SIDE))
    with reference.open() as reader:
        values = reader.on_grid(Grid(UTM33, GRID, SIDE, SIDE))
    assert np.isnan(values[EDGE]).all()
    rest = np.s_[:, :, 6:]
    np.testing.assert_allclose(values[rest], TRUTH[rest] * 1e-4, atol=2e-5)
    assert (reference.acquired is None) == row.undated


REFUSED = {
    "bands of another language": (
        one_file(f"{PLANET}_AnalyticMS_SR_8b.tif", order=(3, 2, 1, 0), names=("БИК", "красный", "зелёный", "синий")),
        "красный",
    ),
    "bands 5 to 2": (
        one_file("scene.tif", order=(3, 2, 1, 0), names=("Band_5", "Band_4", "Band_3", "Band_2")),
        "Band_5",
    ),
    "16 bits of Sentinel Hub": (
        one_file("2022-05-15_Sentinel-2_L2A.tif", stored=lambda dn: np.minimum(dn * 10.9227, 65535)),
        "99 % under",
    ),
    "fractions with 9999": (one_file("scene.tif", fill=9999, **FRACTION), "99 % under"),
    "bands of two dates": (
        single_bands("20220515_B02.tif", "20220520_B03.tif", "20220515_B04.tif", "20220515_B08.tif"),
        "bands of different dates (2022-05-15, 2022-05-20)",
    ),
    "counts": (one_file(f"{PLANET}_AnalyticMS_DN.tif"), "unscaled counts"),
    "radiance without XML": (one_file(f"{PLANET}_AnalyticMS_8b.tif", eight=True, stored=radiance), "radiance"),
    "radiance by another name": (one_file("june.tif", stored=hazy_radiance), "as PlanetScope's radiance is"),
    "Collection 2 by another name": (one_file("june.tif", stored=collection_2), "as Landsat's Collection 2"),
    "Landsat of level 1": (
        one_file("LC08_L1TP_191029_20220515_20220519_02_T1.tif", names=("B2", "B3", "B4", "B5"), stored=collection_2),
        "unscaled counts",
    ),
    "Landsat 8 by the numbers of Landsat 7": (
        one_file(f"{LANDSAT}.tif", names=COUNTED[:4], stored=collection_2),
        "b1, b2, b3, b4",
    ),
    "8b by Sentinel-2's numbers": (
        one_file(f"{PLANET}_AnalyticMS_SR_8b.tif", names=("B2", "B3", "B4", "B8")),
        "B2, B3, B4, B8",
    ),
    "Sentinel-2 of no date that may be shifted": (
        one_file("s2_composite.tif", names=("B2", "B3", "B4", "B8"), stored=shifted),
        "whether 1000 was added",
    ),
    "visual": (one_file(f"{PLANET}_Visual.tif", order=(2, 1, 0), dtype="uint8", stored=lambda dn: dn / 30), "3 bands"),
}


@pytest.mark.parametrize("product", REFUSED)
def test_what_nothing_tells_is_refused_in_one_line(cli: Cli, tmp_path: Path, product: str) -> None:
    write, why = REFUSED[product]
    path, out = write(tmp_path), tmp_path / "out.tif"
    before = sorted(tmp_path.iterdir())
    done = cli("run", "--planet", path, "-o", out, "--weights", "identity")
    assert (done.exit_code, len(done.stderr.splitlines())) == (1, 1), done.stderr
    assert why in done.stderr
    assert sorted(tmp_path.iterdir()) == before
    info = cli("info", path)
    assert why in info.output + info.stderr or "nothing that cloudfree can use" in info.output


# --- radar ---

SAR_GRID = Affine(10, 0, ORIGIN[0] - 104, 0, -10, ORIGIN[1] + 103)
SAR_DB = sar_values_db(40, 40)
POWER = 10 ** (SAR_DB / 10)
OPERA = "OPERA_L2_RTC-S1_T022-046123-IW1_20220515T165810Z_20220516T100000Z_S1A_30_v1.0"
HYP3 = "S1A_IW_20220515T165810_DVP_RTC20_G_gpuned_7C21"


def radar_files(
    folder: str, names: Sequence[str], values: np.ndarray, companions: Sequence[str] = (), **profile: object
) -> Callable[[Path], list[Path]]:
    """Writes one polarisation a file, and companions that are none."""

    def write(where: Path) -> list[Path]:
        inside = bands_in(where / folder, names, values.astype(np.float32), SAR_GRID, **profile)
        bands_in(inside, companions, np.repeat(values[:1], len(companions), axis=0).astype(np.float32), SAR_GRID)
        return [inside] if companions else [inside / name for name in names]

    return write


def radar_file(name: str, bands: Sequence[str], values: np.ndarray) -> Callable[[Path], list[Path]]:
    return lambda folder: [write_raster(folder / name, values.astype(np.float32), SAR_GRID, descriptions=bands)]


ANGLE = np.concatenate([SAR_DB, SAR_DB[:1] * 0 + 38])
RADAR = {
    "Earth Engine": radar_file("S1A_IW_GRDH_1SDV_20220515T165810.tif", ("VV", "VH", "angle"), ANGLE),
    "Earth Engine, VH first": radar_file("S1A_IW_GRDH_1SDV_20220515T165810.tif", ("VH", "VV"), SAR_DB[::-1]),
    "HyP3 folder": radar_files(
        HYP3,
        [f"{HYP3}_VV.tif", f"{HYP3}_VH.tif"],
        POWER,
        [f"{HYP3}_{name}.tif" for name in ("dem", "inc_map", "ls_map", "area", "rgb")],
        nodata=0,
    ),
    "HyP3, amplitude": radar_files(
        "hyp3", [f"{HYP3.replace('gpuned', 'gauned')}_{name}.tif" for name in ("VV", "VH")], np.sqrt(POWER), nodata=0
    ),
    "Planetary Computer RTC": radar_files(
        "S1A_IW_GRDH_1SDV_20220515T165810_20220515T165835_043214_rtc",
        ["iw-vv.rtc.tiff", "iw-vh.rtc.tiff"],
        POWER,
        nodata=-32768,
    ),
    "SNAP": radar_files("S1A_Orb_NR_Cal_TC_dB", ["Sigma0_VV_db.tif", "Sigma0_VH_db.tif"], SAR_DB),
    "OPERA RTC": radar_files(
        "opera",
        [
            f"OPERA_L2_RTC-S1_T022-046123-IW1_20220515T165810Z_20220516T100000Z_S1A_30_v1.0_{n}.tif"
            for n in ("VV", "VH")
        ],
        POWER,
        nodata=np.nan,
    ),
}


@pytest.mark.parametrize("product", RADAR)
def test_radar_is_read_as_its_provider_means_it(cli: Cli, tmp_path: Path, product: str) -> None:
    scene = write_raster(tmp_path / f"{PLANET}_AnalyticMS_SR.tif", TRUTH.astype(np.uint16), GRID, nodata=0)
    files = RADAR[product](tmp_path)
    options = [part for file in files for part in ("--sar", file)]
    plain = write_raster(tmp_path / "plain.tif", SAR_DB, SAR_GRID, descriptions=("VV", "VH"))
    for name, sar in (("one.tif", ["--sar", plain]), ("other.tif", options)):
        done = cli("align", "--planet", scene, *sar, "-o", tmp_path / name, "--max-shift", 0)
        assert done.exit_code == 0, done.output
    with rasterio.open(tmp_path / "one.tif") as one, rasterio.open(tmp_path / "other.tif") as other:
        np.testing.assert_allclose(other.read(), one.read(), atol=0.01)
    done = cli("run", "--planet", scene, *options, "-o", tmp_path / "out.tif", "--weights", "identity", "--dry-run")
    assert done.exit_code == 0, done.output
    assert "nothing that cloudfree can use" not in cli("info", *files).output


@pytest.mark.parametrize(
    "names",
    [
        ("PIR", "Rouge", "Vert", "Bleu"),
        ("近红外", "红", "绿", "蓝"),
        ("b4", "b3", "b2", "b1"),
        ("B05", "B04", "B03", "B02"),
        ("I1", "M5", "M4", "M3"),
    ],
)
def test_a_reference_whose_bands_are_named_otherwise_is_not_read_by_position(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    path = one_file("20220520_r.tif", order=(3, 2, 1, 0), names=names)(tmp_path)
    with pytest.raises(InputError, match="cannot be told apart"):
        identify_reference(path, Grid(UTM33, GRID, SIDE, SIDE))
    assert identify_scene(path, (4, 3, 2, 1)).band_indexes == (4, 3, 2, 1)


def test_water_that_is_slightly_negative_is_no_proof_against_a_baseline(tmp_path: Path) -> None:
    def with_negative_water(dn: np.ndarray) -> np.ndarray:
        values = dn + 1000
        values[3, 40:, 40:] = 820
        return values

    name = "S2B_MSIL2A_20220515T101031_N0510_R022_T33TUL_20220515T161234.tif"
    scene = identify_scene(one_file(name, stored=with_negative_water)(tmp_path))
    assert scene.conversion is not None
    assert scene.conversion.shift == (-1000.0,) * 4
