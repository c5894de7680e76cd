"""The main job with the identity model: the product is reopened; pixels, georeferencing and tags are checked."""

import json
import os
import shutil
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import Result
from rasterio.crs import CRS
from rasterio.warp import transform as transform_points
from rio_cogeo.cogeo import cog_validate
from support import ORIGIN, UTM33, pattern, sar_values_db, scene_dn, tiny_seeing, write_raster

import cloudfree
from cloudfree.bands import Qa
from cloudfree.errors import CloudfreeError
from cloudfree.network.models import UNet
from cloudfree.network.weights import save_model, sha256_of
from cloudfree.pipeline import execute
from cloudfree.reconstruct import trust
from cloudfree.reconstruct.tile import NO_TRUST

MakeScene = Callable[..., Path]
MakeSar = Callable[..., Path]
MakeMask = Callable[..., Path]
Cli = Callable[..., Result]

IDENTITY = ("--weights", "identity")
EXACT = "--edge-limit", 0  # the mask as it is given


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as dataset:
        return dataset.read()


def run(cli: Cli, planet: Path, sar: Path, out: Path, *options: object) -> dict:
    result = cli("run", "--planet", planet, "--sar", sar, "-o", out, "--json", *IDENTITY, *options)
    assert result.exit_code == 0, result.output
    valid, errors, warnings = cog_validate(out, strict=True, quiet=True)
    assert valid, (errors, warnings)
    return json.loads(result.stdout)


@pytest.mark.parametrize(
    ("height", "width", "tile", "overlap"),
    [
        (161, 333, 64, 16),
        (161, 333, 128, 127),
        (500, 100, 96, 40),
        (17, 2000, 512, 64),
        (15, 7, 512, 64),
        (1, 5000, 256, 64),
        (1, 1, 16, 0),
        (64, 64, 16, 0),
        (1100, 90, 512, 64),
    ],
)
def test_the_identity_model_returns_its_input(
    cli: Cli, make_scene: MakeScene, make_sar: MakeSar, tmp_path: Path, height: int, width: int, tile: int, overlap: int
) -> None:
    dn = scene_dn(height, width)
    sar = make_sar(1700, transform=Affine(10, 0, ORIGIN[0] - 504, 0, -10, ORIGIN[1] + 503))
    out = tmp_path / "out.tif"
    report = run(cli, make_scene(dn=dn), sar, out, "--fill", "all", "--tile", tile, "--overlap", overlap)
    np.testing.assert_array_equal(read(out), dn)
    assert report["pixels"] == {"nodata": 0, "observed": 0, "reconstructed": height * width} | dict.fromkeys(
        ("not_reconstructed", "reconstructed_without_sar", "seen_through"), 0
    )


@pytest.mark.slow
def test_the_product_is_what_formats_md_asks_for(
    cli: Cli, make_scene: MakeScene, make_sar: MakeSar, make_mask: MakeMask, tmp_path: Path
) -> None:
    scene, sar, out = make_scene(700, 600), make_sar(), tmp_path / "out.tif"
    mask = make_mask(np.pad(np.ones((50, 50)), ((100, 550), (200, 350))))
    report = run(cli, scene, sar, out, "--mask", mask)
    with rasterio.open(scene) as source, rasterio.open(out) as product:
        assert (product.crs, product.transform, product.shape) == (source.crs, source.transform, source.shape)
        assert product.dtypes == ("uint16",) * 4
        assert product.nodata == 0
        assert product.descriptions == ("blue", "green", "red", "nir")
        assert [c.name for c in product.colorinterp] == ["blue", "green", "red", "nir"]
        assert product.scales == (0.0001,) * 4
        assert product.block_shapes == [(512, 512)] * 4
        assert product.compression.name == "deflate"
        assert product.tags(ns="IMAGE_STRUCTURE")["PREDICTOR"] == "2"
        assert product.overviews(1) == [2]
        tags = product.tags()
    inputs = {item["name"]: item["sha256"] for item in json.loads(tags["CLOUDFREE_INPUTS"])}
    assert inputs == {path.name: sha256_of(path) for path in (scene, sar, mask)}
    assert json.loads(tags["CLOUDFREE_WEIGHTS"])["sha256"] == report["weights"]["sha256"]
    assert json.loads(tags["CLOUDFREE_OPTIONS"])["mask"] == mask.name
    assert json.loads(tags["CLOUDFREE_COREGISTRATION"])["shift_m"] == report["coregistration"]["shift_m"]
    assert tags["TIFFTAG_SOFTWARE"] == f"cloudfree {cloudfree.__version__}"


def test_observed_pixels_are_kept_and_the_rest_is_told(
    cli: Cli, make_scene: MakeScene, make_sar: MakeSar, make_mask: MakeMask, tmp_path: Path
) -> None:
    """Clouds saturate: over 10000 the network sees 10000, but what is observed stays as it was."""
    dn = scene_dn(300, 300)
    dn[:, 100:200, 100:200] = 12_000
    dn[:, :40] = 0
    cloud = np.zeros((300, 300))
    cloud[110:190, 110:190] = 1
    out, qa = tmp_path / "out.tif", tmp_path / "qa.tif"
    report = run(cli, make_scene(dn=dn), make_sar(), out, "--mask", make_mask(cloud), "--qa", qa, "--buffer", 6, *EXACT)
    product = read(out)
    classes, percent = read(qa)
    assert cog_validate(qa, strict=True, quiet=True)[0]
    assert (classes[:40] == Qa.NODATA).all()
    assert (product[:, :40] == 0).all()
    assert (product[:, 40:] > 0).all()
    assert (product[:, cloud == 1] == 10_000).all()
    observed = classes == Qa.OBSERVED
    np.testing.assert_array_equal(product[:, observed], dn[:, observed])
    assert (product[:, observed] == 12_000).any()
    assert (percent[:40] == 255).all()
    np.testing.assert_array_equal((percent > 0) & (percent < 255), classes == Qa.RECONSTRUCTED)
    assert (percent[(cloud == 1) & (classes != Qa.NODATA)] == 100).all()
    feather = (classes == Qa.RECONSTRUCTED) & (cloud == 0)
    assert 0 < percent[feather].min() < percent[feather].max() < 100
    assert report["pixels"] == {qa.name.lower(): int((classes == qa).sum()) for qa in Qa}


@pytest.fixture
def half_seen(
    cli: Cli, make_scene: MakeScene, make_sar: MakeSar, make_mask: MakeMask, tmp_path: Path
) -> Callable[..., tuple[np.ndarray, np.ndarray, Result]]:
    """Run on a clouded scene of whose north-west alone there is radar: product, quality, outcome."""
    dn = scene_dn(300, 300)
    cloud = np.zeros((300, 300))
    cloud[100:250, 60:240] = 1
    dn[:, cloud == 1] = 9000
    half = make_sar(60, transform=Affine(10, 0, ORIGIN[0] - 150, 0, -10, ORIGIN[1] + 100))
    inputs = "--planet", make_scene(dn=dn), "--sar", half, "--mask", make_mask(cloud)
    out, qa = tmp_path / "out.tif", tmp_path / "qa.tif"

    def run_on_it(*options: object) -> tuple[np.ndarray, np.ndarray, Result]:
        result = cli("run", *inputs, "-o", out, "--qa", qa, "--buffer", 0, "--coregister", "off", *options)
        assert result.exit_code == 0, result.output
        assert "Sentinel-1 covers" in result.stderr
        return read(out), read(qa), result

    return run_on_it


UNDER_CLOUD_WITHOUT_SAR, UNDER_CLOUD_WITH_SAR = (slice(100, 250), slice(160, 240)), (slice(100, 160), slice(60, 140))


@pytest.mark.parametrize("weights", [(), IDENTITY], ids=["seeing", "plain"])
@pytest.mark.slow
def test_no_cloud_stands_where_radar_is_missing(half_seen: Callable[..., tuple], weights: tuple[str, ...]) -> None:
    """It is filled from the scene's surroundings, and said to be, whatever the weights."""
    product, (classes, percent), result = half_seen(*weights)
    assert "filled from their surroundings alone" in result.stderr
    assert product[:, *UNDER_CLOUD_WITHOUT_SAR].max() < 5000
    assert (classes[UNDER_CLOUD_WITHOUT_SAR] == Qa.RECONSTRUCTED_WITHOUT_SAR).all()
    assert (classes[UNDER_CLOUD_WITH_SAR] == Qa.RECONSTRUCTED).all()
    assert (percent[UNDER_CLOUD_WITHOUT_SAR] == 100).all()
    surroundings = product[:, 100:250, 255:290].mean(axis=(1, 2))
    np.testing.assert_allclose(product[:, *UNDER_CLOUD_WITHOUT_SAR].mean(axis=(1, 2)), surroundings, rtol=0.25)
    clear = classes == Qa.OBSERVED
    np.testing.assert_array_equal(product[:, clear], scene_dn(300, 300)[:, clear])


@pytest.mark.slow
def test_clouds_without_radar_are_kept_on_request(half_seen: Callable[..., tuple]) -> None:
    product, (classes, percent), result = half_seen("--without-sar", "keep")
    assert "stay as observed" in result.stderr
    assert (product[:, *UNDER_CLOUD_WITHOUT_SAR] == 9000).all()
    assert (classes[UNDER_CLOUD_WITHOUT_SAR] == Qa.NOT_RECONSTRUCTED).all()
    assert (percent[UNDER_CLOUD_WITHOUT_SAR] == 0).all()
    assert (classes[UNDER_CLOUD_WITH_SAR] == Qa.RECONSTRUCTED).all()


@pytest.mark.slow
def test_clouds_without_radar_become_nodata_on_request(half_seen: Callable[..., tuple]) -> None:
    product, (classes, percent), result = half_seen("--without-sar", "nodata", "--json")
    assert (product[:, *UNDER_CLOUD_WITHOUT_SAR] == 0).all()
    assert (classes[UNDER_CLOUD_WITHOUT_SAR] == Qa.NODATA).all()
    assert (percent[classes == Qa.NODATA] == 255).all()
    report = json.loads(result.stdout)
    assert report["without_sar"] == "nodata"
    assert report["pixels"]["nodata"] == (product == 0).all(axis=0).sum() > 0


@pytest.mark.parametrize(
    "transform",
    [
        Affine(3, 0, ORIGIN[0], 0, 3, ORIGIN[1] - 300),
        Affine.translation(*ORIGIN) @ Affine.rotation(25) @ Affine.scale(3, -3),
        Affine(10, 0, ORIGIN[0], 0, -10, ORIGIN[1]),
    ],
    ids=["south-up", "rotated", "10 m"],
)
def test_odd_but_good_transforms(
    cli: Cli, make_scene: MakeScene, make_sar: MakeSar, tmp_path: Path, transform: Affine
) -> None:
    dn = scene_dn(120, 90)
    out = tmp_path / "out.tif"
    report = run(cli, make_scene(dn=dn, transform=transform), make_sar(), out)
    np.testing.assert_array_equal(read(out), dn)
    assert report["share"]["sar_of_data"] == 1
    with rasterio.open(out) as product:
        assert product.transform.almost_equals(transform)


def test_a_geographic_scene(cli: Cli, make_scene: MakeScene, make_sar: MakeSar, tmp_path: Path) -> None:
    wgs84 = CRS.from_epsg(4326)
    lon, lat = transform_points(UTM33, wgs84, [ORIGIN[0] + 300], [ORIGIN[1] - 300])
    transform = Affine(3.8e-5, 0, lon[0], 0, -2.7e-5, lat[0])
    out = tmp_path / "out.tif"
    report = run(cli, make_scene(transform=transform, crs=wgs84), make_sar(), out)
    assert report["share"]["sar_of_data"] == 1
    np.testing.assert_array_equal(read(out), scene_dn(96, 96))


@pytest.mark.slow
def test_a_sar_image_moved_by_hand_is_moved_back(
    cli: Cli, make_scene: MakeScene, make_sar: MakeSar, tmp_path: Path
) -> None:
    """The image is written 20 m too far east and 10 m too far north, so it must go west and south."""
    rng = np.random.default_rng(0)
    fields = np.digitize(pattern(300, 300, smooth=5), np.linspace(-1.5, 1.5, 7))
    db = rng.uniform(-18, -6, 8)[fields].astype(np.float32)
    sar = make_sar(values=np.stack([db, db - 7]), transform=Affine(10, 0, ORIGIN[0] + 20, 0, -10, ORIGIN[1] + 10))
    dn = np.kron(rng.integers(300, 4000, (4, 8))[:, fields], np.ones((1, 3, 3))).astype(np.uint16)
    transform = Affine(10 / 3, 0, ORIGIN[0], 0, -10 / 3, ORIGIN[1])
    report = run(cli, make_scene(dn=dn, transform=transform), sar, tmp_path / "out.tif", "--coregister", "require")
    assert report["coregistration"]["accepted"]
    assert report["coregistration"]["shift_m"]["east"] == pytest.approx(-20, abs=2)
    assert report["coregistration"]["shift_m"]["north"] == pytest.approx(-10, abs=2)


@pytest.mark.parametrize("compress", ["lzw", "zstd", "none"])
def test_other_compressions(cli: Cli, make_scene: MakeScene, make_sar: MakeSar, tmp_path: Path, compress: str) -> None:
    out = tmp_path / "out.tif"
    run(cli, make_scene(), make_sar(), out, "--compress", compress)
    with rasterio.open(out) as product:
        assert (product.compression.name if product.compression else "none") == compress
        np.testing.assert_array_equal(product.read(), scene_dn(96, 96))


def test_a_sar_image_far_larger_than_the_scene(
    cli: Cli, make_scene: MakeScene, make_sar: MakeSar, tmp_path: Path
) -> None:
    far_corner = Affine(10, 0, ORIGIN[0] - 39_000, 0, -10, ORIGIN[1] + 39_000)
    sar = make_sar(values=np.tile(sar_values_db(400, 400), (1, 10, 10)), transform=far_corner, tiled=True)
    report = run(cli, make_scene(), sar, tmp_path / "out.tif")
    assert report["share"]["sar_of_data"] == 1


def test_a_mask_of_floats_with_nan(cli: Cli, make_scene: MakeScene, make_sar: MakeSar, tmp_path: Path) -> None:
    values = np.zeros((1, 96, 96), np.float32)
    values[0, :30], values[0, 60:80, 60:80] = np.nan, 0.7
    mask = write_raster(tmp_path / "mask.tif", values, Affine(3, 0, ORIGIN[0], 0, -3, ORIGIN[1]))
    words = cli, make_scene(), make_sar(), tmp_path / "out.tif", "--mask", mask, "--buffer", 0, "--overwrite"
    assert 400 <= run(*words, "--mask-unknown", "clear")["pixels"]["reconstructed"] < 2000
    unknown_too = 400 + 30 * 96
    assert unknown_too <= run(*words)["pixels"]["reconstructed"] < 2 * unknown_too


@pytest.mark.slow
def test_the_progress_bar_counts_megapixels_on_a_terminal_only(
    make_scene: MakeScene, make_sar: MakeSar, tmp_path: Path
) -> None:
    files = ["--planet", make_scene(600, 600), "--sar", make_sar(), "-o", tmp_path / "out.tif", *IDENTITY]
    command = [sys.executable, "-m", "cloudfree", "run", "--overwrite", *map(str, files)]
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    subprocess.run(command, stderr=theirs, check=True)
    os.set_blocking(ours, False)
    shown = os.read(ours, 100_000).decode()
    assert "cpu" in shown
    assert "0.4/0.4 Mpx" in shown
    (last,) = subprocess.run(command, stderr=subprocess.PIPE, check=True).stderr.decode().splitlines()
    assert last.endswith("out.tif: 0.0 % of the data rewritten, the rest as observed")
    assert subprocess.run([*command, "--quiet"], stderr=subprocess.PIPE, check=True).stderr == b""


def test_names_with_spaces_and_a_read_only_folder(
    cli: Cli, make_scene: MakeScene, make_sar: MakeSar, tmp_path: Path
) -> None:
    folder = tmp_path / "Ångström données 雲"
    folder.mkdir()
    scene = make_scene().rename(folder / "my scene.tif")
    sar = make_sar().rename(folder / "s1 sigma₀.tif")
    folder.chmod(0o555)
    try:
        run(cli, scene, sar, tmp_path / "ohne Wolken ☀.tif")
        assert sorted(p.name for p in folder.iterdir()) == sorted([scene.name, sar.name])
    finally:
        folder.chmod(0o755)


def test_the_sibling_udm2_is_used_unasked(
    cli: Cli, make_scene: MakeScene, make_sar: MakeSar, make_mask: MakeMask, tmp_path: Path
) -> None:
    bands = np.zeros((8, 96, 96))
    bands[5, 40:60, 40:60] = 1
    make_mask(bands, name="20211008_002442_03_2456_3B_udm2_clip.tif")
    scene = make_scene(name="20211008_002442_03_2456_3B_AnalyticMS_SR_clip.tif")
    report = run(cli, scene, make_sar(), tmp_path / "out.tif")
    assert report["fill"] == "clouds"
    assert report["pixels"]["observed"] > 0
    assert report["pixels"]["reconstructed"] >= 400


def test_two_files_give_what_one_file_gives(cli: Cli, make_scene: MakeScene, make_sar: MakeSar, tmp_path: Path) -> None:
    pair = [
        make_sar(name=f"{pol}.tif", values=band[None], descriptions=None)
        for pol, band in zip(("VH", "VV"), sar_values_db(300, 300)[::-1], strict=True)
    ]
    scene = make_scene()
    cloudfree.run(scene, pair, tmp_path / "two.tif", weights="identity", qa=tmp_path / "qa.tif")
    cloudfree.run(scene, make_sar(), tmp_path / "one.tif", weights="identity")
    np.testing.assert_array_equal(read(tmp_path / "two.tif"), read(tmp_path / "one.tif"))


def test_dry_run_writes_nothing_and_says_what_it_would_do(
    cli: Cli, make_scene: MakeScene, make_sar: MakeSar, tmp_path: Path
) -> None:
    scene, sar = make_scene(), make_sar()
    before = sorted(tmp_path.iterdir())
    result = cli("run", "--planet", scene, "--sar", sar, "-o", tmp_path / "out.tif", *IDENTITY, "--dry-run")
    assert json.loads(result.stdout)["fill"] == "clouds"
    assert json.loads(result.stdout)["found"].keys() == {"cloud", "haze", "shadow", "snow"}
    never = cli(
        "run", "--planet", scene, "--sar", sar, "-o", tmp_path / "out.tif", "--find-clouds", "never", "--dry-run"
    )
    assert json.loads(never.stdout)["fill"] == "all"
    assert json.loads(never.stdout)["found"] is None
    assert sorted(tmp_path.iterdir()) == before


def test_overwrite_and_quicklook(cli: Cli, make_scene: MakeScene, make_sar: MakeSar, tmp_path: Path) -> None:
    scene, sar, out, png = make_scene(), make_sar(), tmp_path / "out.tif", tmp_path / "look.png"
    out.write_text("precious")
    run(cli, scene, sar, out, "--overwrite", "--quicklook", png)
    assert png.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", png.read_bytes()[16:24]) == (3 * 96 + 16, 96)  # width, height of the header
    assert sorted(p.name for p in tmp_path.iterdir()) == ["look.png", "out.tif", "s1.tif", "scene.tif"]


def test_info_tells_what_each_file_is(cli: Cli, make_scene: MakeScene, make_sar: MakeSar, make_mask: MakeMask) -> None:
    files = [make_scene(), make_sar(), make_mask(np.zeros((8, 96, 96)), name="udm2.tif")]
    inspections = json.loads(cli("info", "--json", *files).stdout)
    assert [item["kind"] for item in inspections] == [
        "optical scene, surface reflectance",
        "Sentinel-1, VV and VH, db",
        "PlanetScope usable data mask (UDM2)",
    ]
    assert [item["overlap_share"] for item in inspections] == [None, 1.0, 1.0]
    assert "blue, green, red, NIR are bands 1, 2, 3, 4" in cli("info", files[0]).stdout


def test_where_the_network_is_believed_to_0_it_is_not_run_again(
    make_scene: MakeScene, make_sar: MakeSar, make_mask: MakeMask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights that only lead astray are tried on a few windows, and then left out; what is hidden is the model's."""
    weights = save_model(tiny_seeing(step=30), tmp_path / "astray.safetensors")
    forward, shapes = UNet.forward, []
    monkeypatch.setattr(UNet, "forward", lambda *images: (shapes.append(images[1].shape), forward(*images))[1])
    measure, tried = trust.measure, []
    monkeypatch.setattr(trust, "measure", lambda *of: (measure(*of), tried.append(len(shapes)))[0])
    cloud = np.zeros((300, 300))
    cloud[60:160, 30:140] = 1
    options = {"mask": make_mask(cloud), "weights": str(weights), "tile": 128, "device": "cpu"}
    result = cloudfree.run(make_scene(300, 300), make_sar(), tmp_path / "out.tif", **options)
    assert result.trust == NO_TRUST
    assert shapes, "it was tried"
    assert max(max(shape[2:]) for shape in shapes) <= 128
    assert tried == [len(shapes)], "no tile of the product needed it"
    product = read(tmp_path / "out.tif")
    hidden = product[:, 80:140, 50:120].astype(int)
    assert np.abs(hidden - np.median(scene_dn(300, 300), axis=(1, 2))[:, None, None]).mean() < 1000


@pytest.mark.attack(3)
@pytest.mark.parametrize("replaced", ["scene.tif", "sar.tif"])
def test_an_input_that_is_replaced_while_it_is_read_fails_the_run(
    make_scene: MakeScene, make_sar: MakeSar, tmp_path: Path, replaced: str
) -> None:
    """The hash in the tags would be of other pixels, and `batch` would skip the product for ever."""
    scene, sar = make_scene(), make_sar()
    plan = cloudfree.make_plan(cloudfree.Options.of(scene, sar, output=tmp_path / "out.tif", weights="identity"))
    victim = {"scene.tif": scene, "sar.tif": sar}[replaced]

    def replace(_: float) -> None:
        if not (tmp_path / "done").exists():
            shutil.copy(victim, tmp_path / "done")
            (tmp_path / "done").replace(victim)
            (tmp_path / "done").write_text("")

    with pytest.raises(CloudfreeError, match=f"{victim.name} was replaced or changed"):
        execute(plan, replace)
    assert not (tmp_path / "out.tif").exists()


@pytest.mark.parametrize(("cloudy", "why"), [(1, "nothing could be tried"), (0.3, "so far it restored clear ground")])
def test_the_log_says_why_the_network_is_believed(
    cloudy: float,
    why: str,
    make_scene: MakeScene,
    make_sar: MakeSar,
    make_mask: MakeMask,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    weights = save_model(tiny_seeing(), tmp_path / "tiny.safetensors")
    mask = make_mask((np.arange(300) < 300 * cloudy) * np.ones((300, 1)))
    with caplog.at_level("INFO", logger="cloudfree"):
        cloudfree.run(make_scene(300, 300), make_sar(), tmp_path / "out.tif", mask=mask, weights=str(weights))
    (told,) = [line for line in caplog.messages if "the network is believed" in line]
    assert why in told
