"""`--report`: the page of a real run is parsed; it is whole by itself, its pictures are of the right pixels."""

import base64
import hashlib
import html
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import Result
from page_support import Page
from rasterio.warp import transform as warped
from scipy.ndimage import binary_dilation
from support import ORIGIN, scene_dn

from cloudfree.bands import Qa
from cloudfree.product.profiles import QA_COLOURS
from cloudfree.report import embedding, facts, vectors
from cloudfree.scene.offset import Vector

Cli = Callable[..., Result]
Make = Callable[..., Path]

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

IDENTITY = "--weights", "identity", "--find-clouds", "never", "--edge-limit", 0
SIDE = 160
BEFORE, AFTER = "True colour, before: the scene with its clouds", "True colour, after: the result"
QUALITY = "Which pixels were observed and which reconstructed"
HOSTILE = "<img src=x onerror=alert(1)> \"'&amp;.tif"


@pytest.fixture
def clouded(make_scene: Make, make_sar: Make, make_mask: Make) -> tuple[object, ...]:
    """A scene with a cloud that radar sees the west of, and a strip without data."""
    dn, cloud = scene_dn(SIDE, SIDE), np.zeros((SIDE, SIDE))
    cloud[40:100, 40:120] = 1
    dn[:, cloud == 1] = 9000
    dn[:, :, 150:] = 0
    half = make_sar(40, transform=Affine(10, 0, ORIGIN[0] - 150, 0, -10, ORIGIN[1] + 100))
    files = "--planet", make_scene(dn=dn), "--sar", half, "--mask", make_mask(cloud)
    return "run", *files, "--buffer", 0, "--coregister", "off"


def shown(cli: Cli, tmp_path: Path, *arguments: object, output: str = "out.tif") -> tuple[Page, dict]:
    """The page of a run, and what it says as --json."""
    made = "-o", tmp_path / output, "--report", tmp_path / "out.html", "--json"
    result = cli(*arguments, *made)
    assert result.exit_code == 0, result.output
    return Page(tmp_path / "out.html"), json.loads(result.stdout)


def test_the_page_is_whole_by_itself(cli: Cli, clouded: tuple, tmp_path: Path) -> None:
    sides = "--qa", tmp_path / "qa.tif"
    page, run = shown(cli, tmp_path, *clouded, *IDENTITY, *sides)
    assert page.fetched == set()
    assert page.all("html") == [{"lang": "en"}]
    assert page.all("meta", name="viewport")
    assert all(element["alt"] for element in page.all("img"))
    policy = page.all("meta", **{"http-equiv": "Content-Security-Policy"})[0]["content"]
    assert "default-src 'none'; img-src data:;" in policy
    scripts = [text for text, kind in zip(page.texts["script"], page.all("script"), strict=True) if not kind]
    for text in (*scripts, *page.texts["style"]):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    names = {name for _, attributes in page.elements for name in attributes}
    assert not [name for name in names if name == "style" or name.startswith("on")]
    for later in ("report", "total"):  # than the page is written
        run["seconds"].pop(later)
    run |= {name: Path(run[name]).name for name in ("output", "qa", "report")}
    assert page.numbers == run
    assert str(tmp_path) not in page.source
    sliders = page.all("input")
    assert {element["type"] for element in sliders} == {"range"}
    assert all(element["aria-label"] for element in sliders)


def test_what_a_run_warns_of_is_on_the_page_even_where_its_log_is_quiet(
    cli: Cli, clouded: tuple, tmp_path: Path
) -> None:
    page, run = shown(cli, tmp_path, *clouded, *IDENTITY, "--quiet")
    assert any("Sentinel-1 covers" in warning for warning in run["warnings"])
    source = html.unescape(page.source)
    assert all(f"{warning[1:]}." in source for warning in run["warnings"])


def test_before_differs_from_after_where_something_was_reconstructed(cli: Cli, clouded: tuple, tmp_path: Path) -> None:
    page, run = shown(cli, tmp_path, *clouded, *IDENTITY, "--qa", tmp_path / "qa.tif")
    with rasterio.open(tmp_path / "qa.tif") as dataset:
        classes = dataset.read(1)
    pictures, zoom = page.pictures(), 3
    before, after, quality = (pictures[name][:, ::zoom, ::zoom].astype(int) for name in (BEFORE, AFTER, QUALITY))
    assert before.shape == after.shape == (4, SIDE, SIDE)
    different = np.abs(before - after)[:3].max(axis=0) > 40
    with rasterio.open(tmp_path / "scene.tif") as scene, rasterio.open(tmp_path / "out.tif") as product:
        changed = np.abs(scene.read().astype(int) - product.read()).max(axis=0)
    assert (changed > 3000).sum() > 1000
    assert different[changed > 3000].mean() > 0.98
    assert not different[~binary_dilation(changed > 0, iterations=8)].any()
    np.testing.assert_array_equal(after[3] > 0, classes != Qa.NODATA)
    colours = np.array([QA_COLOURS[qa] for qa in Qa])[classes].transpose(2, 0, 1)
    np.testing.assert_array_equal(quality, colours)
    assert f"{facts.percent(run['pixels']['reconstructed_without_sar'] / (SIDE * 150))} without radar" in page.text("p")


def test_without_side_products_quality_is_what_differs(cli: Cli, clouded: tuple, tmp_path: Path) -> None:
    page, _ = shown(cli, tmp_path, *clouded, *IDENTITY)
    quality = page.pictures()[QUALITY][:, ::3, ::3]
    blue = (quality[:3] == np.array(QA_COLOURS[Qa.RECONSTRUCTED][:3])[:, None, None]).all(axis=0)
    assert blue[50:90, 100:115].all()
    assert not blue[:, :30].any()
    assert "--qa distinguishes the classes" in page.text("figcaption")
    assert "Uncertainty" not in page.text("figcaption")


@pytest.mark.slow
def test_everything_there_is_has_a_panel(
    cli: Cli, make_scene: Make, make_sar: Make, make_mask: Make, tmp_path: Path
) -> None:
    """With our own weights: a reference, uncertainty, arrows of many windows."""
    side, cloud = 400, np.zeros((400, 400))
    cloud[100:180, 100:180] = 1
    reference = make_scene(name="20240606_reference.tif", dn=scene_dn(side, side, seed=0))
    scene = make_scene(name="20240615_scene.tif", dn=scene_dn(side, side))
    files = "--planet", scene, "--sar", make_sar(), "--mask", make_mask(cloud), "--reference", reference
    sides = "--qa", tmp_path / "qa.tif", "--uncertainty", tmp_path / "u.tif"
    page, run = shown(cli, tmp_path, "run", *files, *sides, "--find-clouds", "never", "--tile", 256)
    captions = page.text("figcaption")
    for title in ("True colour", "Colour infrared", "Sentinel-1", "Image 1", "Quality", "Uncertainty"):
        assert title in captions
    assert "20240606_reference.tif of 2024-06-06" in captions
    assert ("Offsets of Sentinel-1" in captions) == bool(page.all("path"))
    assert "2024-06-15" in page.text("dd")
    assert len(page.all("circle")) <= sum(run["coregistration"]["windows"].values())
    for mean in run["uncertainty"]["mean"].values():
        assert f"{mean:.4f}" in page.text("td")
    assert run["weights"]["sha256"] in page.text("dd")


@pytest.mark.parametrize(("height", "width"), [(1, 1), (40, 60), (17, 900), (700, 20), (3, 3000)])
def test_odd_sizes(cli: Cli, make_scene: Make, make_sar: Make, tmp_path: Path, height: int, width: int) -> None:
    radar = make_sar(1100, transform=Affine(10, 0, ORIGIN[0] - 504, 0, -10, ORIGIN[1] + 503))
    files = "--planet", make_scene(dn=scene_dn(height, width)), "--sar", radar
    page, _ = shown(cli, tmp_path, "run", *files, *IDENTITY)
    sizes = {decoded.shape[1:] for decoded in (page.pictures()[BEFORE], page.pictures()[AFTER])}
    assert sizes == {embedding.display_shape((height, width), 1400)}
    assert "there is no mask" in page.text("li")


def test_a_part_is_shown_as_the_part(cli: Cli, clouded: tuple, tmp_path: Path) -> None:
    x, y = [ORIGIN[0] + 90, ORIGIN[0] + 300], [ORIGIN[1] - 330, ORIGIN[1] - 60]
    lon, lat = warped("EPSG:32633", "EPSG:4326", x, y)
    page, run = shown(cli, tmp_path, *clouded, *IDENTITY, f"--bbox={lon[0]},{lat[0]},{lon[1]},{lat[1]}")
    shape = run["part"]["height"], run["part"]["width"]
    assert shape < (SIDE, SIDE)
    assert page.pictures()[AFTER].shape[1:] == embedding.display_shape(shape, 1400)
    assert "of the part is reconstructed" in page.text("p")


def test_names_are_text_and_never_markup(cli: Cli, make_scene: Make, make_sar: Make, tmp_path: Path) -> None:
    files = "--planet", make_scene(name=HOSTILE), "--sar", make_sar(name="<!--<script>.tif")
    page, _ = shown(cli, tmp_path, "run", *files, *IDENTITY, output="<!--<script>_out.tif")
    assert page.text("h1") == HOSTILE
    assert not page.all("img", src="x")
    assert "<!--<script>.tif" in page.text("li")
    assert page.numbers["output"] == "<!--<script>_out.tif"


def test_where_gdal_has_no_webp_pictures_are_png(
    cli: Cli, clouded: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding, "_drivers", lambda: {"PNG": "Portable Network Graphics"})
    page, _ = shown(cli, tmp_path, *clouded, *IDENTITY)
    assert all(element["src"].startswith("data:image/png;base64,") for element in page.all("img"))
    assert page.pictures()[AFTER].shape == (4, 3 * SIDE, 3 * SIDE)


def test_a_picture_gets_smaller_until_it_fits() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3, 200, 200), dtype=np.uint8)
    sizes = [len(embedding.embedded(noise, at_most).uri) for at_most in (1e9, 20_000, 1)]
    assert sizes[0] > sizes[1] > sizes[2] > 1000


def test_shares_are_told_with_the_digits_that_they_deserve() -> None:
    texts = {
        0: "0 %",
        0.0004: "< 0.1 %",
        0.0234: "2.3 %",
        0.4: "40 %",
        0.9941: "99.4 %",
        0.9999: "> 99.9 %",
        1: "100 %",
    }
    assert {share: facts.percent(share) for share in texts} == texts


def test_arrows_are_to_scale(make_scene: Make) -> None:
    from cloudfree.geometry import Grid

    with rasterio.open(make_scene(300, 600, transform=Affine(10, 0, ORIGIN[0], 0, -10, ORIGIN[1]))) as dataset:
        grid = Grid.of(dataset)
    offsets = [Vector((100.0, 100.0), (0.0, 4.0), True), Vector((200.0, 500.0), (-2.0, 0.0), False)]
    drawing = vectors.drawn(grid, offsets)
    assert drawing
    assert (drawing.width, drawing.height, drawing.scale_m) == (640, 320, 20)
    ends = [
        [float(v) for v in arrow.path.split("M")[1].replace("L", " ").split()]
        for arrow in (*drawing.arrows, drawing.scale)
    ]
    right, up, scale = ((x1 - x0, y1 - y0) for x0, y0, x1, y1 in ends)
    assert right[0] == pytest.approx(2 * scale[0], abs=0.3)
    assert up == pytest.approx((0, -scale[0]), abs=0.3)
    assert right[0] == pytest.approx(4 * 640 / 600 * drawing.times, abs=0.2)
    assert vectors.drawn(grid, ()) is None


@pytest.mark.slow
def test_a_run_without_a_report_does_not_load_templates() -> None:
    code = "import sys, cloudfree.pipeline; assert 'jinja2' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
