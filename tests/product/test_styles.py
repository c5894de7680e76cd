"""QGIS shows true colour, classes by colour and name, and uncertainty in reflectance, by the style beside a file."""

import subprocess
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import rasterio
from support import write_pixels

from cloudfree.bands import Qa, SkyClass
from cloudfree.product import kinds, profiles, styles
from cloudfree.product.kinds import Kind

QGIS_PYTHON = Path("/usr/bin/python3")
SHOW = """
import sys
from qgis.core import QgsApplication, QgsMapRendererParallelJob, QgsMapSettings, QgsRasterLayer
from qgis.PyQt.QtCore import QSize
application = QgsApplication([], False)
application.initQgis()
layer = QgsRasterLayer(sys.argv[1], "layer")
settings = QgsMapSettings()
settings.setLayers([layer]); settings.setExtent(layer.extent()); settings.setOutputSize(QSize(40, 40))
settings.setDestinationCrs(layer.crs())
job = QgsMapRendererParallelJob(settings); job.start(); job.waitForFinished()
for x in (10, 30):
    print(layer.renderer().type(), *job.renderedImage().pixelColor(x, 20).getRgb(), flush=True)
import os; os._exit(0)  # QGIS 3.22 may crash when Python ends
"""


def scaled(path: Path, pixels: np.ndarray, scale: float) -> Path:
    write_pixels(path, pixels)
    with rasterio.open(path, "r+") as dataset:
        dataset.scales = (scale,) * dataset.count
    return path


def style_of(kind: Kind, raster: Path) -> ElementTree.Element:
    styles.write(kind, raster, raster.with_suffix(".qml"))
    renderer = ElementTree.parse(raster.with_suffix(".qml")).find("pipe/rasterrenderer")
    assert renderer is not None
    return renderer


@pytest.fixture
def product(tmp_path: Path) -> Path:
    """Its left half is red, its right half blue; one pixel has no data."""
    dn = np.full((4, 40, 40), 200, np.uint16)
    dn[2, :, :20] = dn[0, :, 20:] = 3000
    dn[:, 0, 0] = 0
    return scaled(tmp_path / "out.tif", dn, 1e-4)


def test_the_product_is_in_true_colour_with_limits_in_reflectance(product: Path) -> None:
    style = style_of(kinds.OUTPUT, product)
    assert [style.get(f"{colour}Band") for colour in ("red", "green", "blue")] == ["3", "2", "1"]
    assert float(style.findtext("redContrastEnhancement/minValue")) == pytest.approx(0.02)
    assert float(style.findtext("redContrastEnhancement/maxValue")) == pytest.approx(0.3)


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (3000, 2)])
def test_products_of_odd_sizes_and_without_data_have_a_style(tmp_path: Path, shape: tuple[int, int]) -> None:
    style = style_of(kinds.OUTPUT, scaled(tmp_path / "out.tif", np.zeros((4, *shape), np.uint16), 1e-4))
    low, high = (float(style.findtext(f"redContrastEnhancement/{limit}Value")) for limit in ("min", "max"))
    assert 0 <= low < high


@pytest.mark.parametrize(
    ("kind", "classes", "colours"),
    [(kinds.QA, Qa, profiles.QA_COLOURS), (kinds.WRITE_MASK, SkyClass, profiles.SKY_COLOURS)],
)
def test_classes_have_their_colours_and_names(tmp_path: Path, kind: Kind, classes: type, colours: dict) -> None:
    entries = {entry.get("value"): entry for entry in style_of(kind, tmp_path / "a.tif").iter("paletteEntry")}
    assert set(entries) == {str(int(value)) for value in colours}
    for one in classes:
        entry = entries[str(one.value)]
        assert entry.get("label").startswith(one.name.lower().replace("_", " "))
        assert entry.get("color") == "#{:02x}{:02x}{:02x}".format(*colours[one][:3])


def test_uncertainty_is_transparent_where_observed_and_rises_in_reflectance(tmp_path: Path) -> None:
    items = list(style_of(kinds.UNCERTAINTY, tmp_path / "a.tif").iter("item"))
    values = [float(item.get("value")) for item in items]
    assert values == sorted(values)
    assert (values[0], items[0].get("alpha"), items[1].get("alpha")) == (0, "0", "255")
    assert values[-1] == pytest.approx(0.06)


def shown(raster: Path) -> list[list[str]]:
    """What QGIS draws in the left and in the right half: its renderer, red, green, blue, alpha."""
    if not QGIS_PYTHON.exists() or subprocess.run([QGIS_PYTHON, "-c", "import qgis.core"], check=False).returncode:
        pytest.skip("QGIS is not installed")
    environment = {"QT_QPA_PLATFORM": "offscreen", "PATH": "/usr/bin:/bin", "HOME": str(raster.parent)}
    command = [QGIS_PYTHON, "-c", SHOW, raster]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    lines = [line.split() for line in done.stdout.splitlines() if line.count(" ") == 4]
    assert len(lines) == 2, done.stderr
    return lines


@pytest.mark.slow
def test_qgis_shows_it_so(product: Path, tmp_path: Path) -> None:
    style_of(kinds.OUTPUT, product)
    assert shown(product) == [
        ["multibandcolor", "255", "0", "0", "255"],
        ["multibandcolor", "0", "0", "255", "255"],
    ]
    qa = np.full((2, 40, 40), Qa.OBSERVED, np.uint8)
    qa[0, :, 20:] = Qa.RECONSTRUCTED
    style_of(kinds.QA, scaled(tmp_path / "qa.tif", qa, 1))
    expected = [profiles.QA_COLOURS[one] for one in (Qa.OBSERVED, Qa.RECONSTRUCTED)]
    assert shown(tmp_path / "qa.tif") == [["paletted", *map(str, colour)] for colour in expected]
