"""Pictures say what they show, and what their colours mean."""

import string
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.errors import NotGeoreferencedWarning
from support import scene_dn, write_raster

import cloudfree
from cloudfree.product import captions, lettering, pictures
from cloudfree.product.captions import Panel, side_by_side

Make = Callable[..., Path]

INK = (0, 0, 0)


def drawn(text: str, scale: int = 1, shape: tuple[int, int] = (20, 400)) -> np.ndarray:
    image = np.full((3, *shape), 255, np.uint8)
    lettering.write(image, text, (2, 3), INK, scale)
    return image


def read(path: Path) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path) as dataset:
            return dataset.read()


def test_every_letter_is_drawn_and_no_two_are_alike() -> None:
    letters = string.ascii_letters + string.digits + ".,:-+/()%?"
    shapes = {letter: drawn(letter).tobytes() for letter in letters}
    assert len(set(shapes.values())) == len(letters)
    assert all(shapes[letter] != drawn(" ").tobytes() for letter in letters)
    assert drawn("é").tobytes() == shapes["?"]


def test_a_text_is_as_wide_as_it_says_and_is_cut_off_at_the_edge() -> None:
    for scale in (1, 2, 3):
        columns = np.flatnonzero((drawn("MM", scale, (60, 99)) == 0).all(axis=0).any(axis=0))
        assert (columns.min(), columns.max() + 1) == (3, 3 + lettering.width_px("MM", scale))
    assert (drawn("M" * 99, 2, (12, 30)) == 0).any()
    assert lettering.width_px("", 1) == 0
    assert (drawn("") == 255).all()


@pytest.mark.parametrize(("width", "size"), [(captions.NARROWEST_PX - 1, 0), (captions.NARROWEST_PX, 1), (700, 2)])
def test_panels_have_words_where_they_can_be_read(width: int, size: int) -> None:
    panels = [Panel(np.zeros((3, 50, wide), np.uint8), "Scene", "as taken") for wide in (width, 900)]
    picture = side_by_side(panels)
    above = 30 * size
    assert picture.shape == (3, 50 + above, width + 900 + captions.GAP_PX)
    assert not above or (picture[:, :above] == 255).mean() > 0.9
    assert not picture[:, above:, :width].any(), "no word lies on the panel"


def test_a_scale_has_its_colours_from_left_to_right() -> None:
    colours = pictures.ramp(np.linspace(0, 1, 256, dtype=np.float32)[None])[:, 0]
    panel = Panel(np.zeros((3, 9, 400), np.uint8), "A", "1+", scale=colours, scale_from="0")
    row = side_by_side([panel])[:, 20]
    coloured = np.flatnonzero(row.max(axis=0).astype(int) - row.min(axis=0) > 40)
    assert np.ptp(coloured) > 40
    assert (np.diff(row[0, coloured[0] : coloured[-1]].astype(int)) >= -1).all(), "ever more red"


@pytest.mark.slow
def test_observed_and_no_data_differ_in_the_panel_of_uncertainty(
    make_scene: Make, make_sar: Make, make_mask: Make, tmp_path: Path
) -> None:
    dn = scene_dn(350, 350)
    dn[:, :, 320:] = 0
    cloud = np.zeros((350, 350))
    cloud[100:200, 100:200] = 1
    files = {"uncertainty": tmp_path / "u.tif", "quicklook": tmp_path / "look.png", "mask": make_mask(cloud)}
    cloudfree.run(make_scene(dn=dn), make_sar(), tmp_path / "out.tif", find_clouds="never", **files)
    picture = read(tmp_path / "look.png")
    assert picture.shape == (3, 350 + 30, 4 * 350 + 3 * captions.GAP_PX)
    panel = picture[:, 30:, -350:]
    assert (panel[:, 10:90, 330:] == 190).all(), "grey without data"
    assert not panel[:, 300:, 10:300].any(), "black where observed"
    assert panel[:, 130:170, 130:170].max() > 40
    assert (picture[:, :30] != 255).any()


def test_a_file_of_uncertainty_knows_where_it_has_data(tmp_path: Path) -> None:
    deviation = np.zeros((4, 8, 8), np.uint16)
    deviation[:, :4] = 65535
    path = write_raster(tmp_path / "u.tif", deviation, Affine.scale(3, -3), nodata=65535)
    known = pictures.has_deviation(path, 8, 8)
    assert known[4:].all()
    assert not known[:4].any()
    assert pictures.has_deviation(path, 3, 5).shape == (3, 5)
    assert pictures.deviation_colour(path, 8, 8)[:, 4:].max() == 0
