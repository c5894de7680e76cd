"""Clouds are found where no mask tells of them, beside a mask where that is wanted; and written as they were used."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import Result
from rio_cogeo.cogeo import cog_validate
from scipy import ndimage
from support import ORIGIN, scene_dn

import cloudfree
from cloudfree import detect
from cloudfree.arrays import Image
from cloudfree.bands import RECONSTRUCTED, SKY_NODATA, Qa, SkyClass

Cli = Callable[..., Result]
Make = Callable[..., Path]

SIDE = 300
CLOUD, SHADE = np.s_[60:120, 60:140], np.s_[180:220, 60:140]
EXACT = "--edge-limit", 0, "--buffer", 0


class BrightOrDark:
    """A detector that takes bright pixels for cloud and black ones for shadow."""

    name, pixel_size_m = "stand-in", 10.0

    def probability(self, view: detect.DetectorInput) -> Image:
        brightness, shares = view.reflectance.mean(axis=0), np.zeros((5, *view.valid.shape), np.float32)
        shares[SkyClass.CLOUD], shares[SkyClass.SHADOW] = brightness > 0.5, brightness < 0.03
        shares[SkyClass.CLEAR] = 1 - shares.sum(axis=0)
        return shares


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloudfree.detect.load", lambda name, precision: BrightOrDark())


@pytest.fixture
def dn() -> np.ndarray:
    values = scene_dn(SIDE, SIDE)
    values[:, *CLOUD], values[:, *SHADE] = 8000, 100
    values[:, :, 280:] = 0
    return values


def run(
    cli: Cli, scene: Path, sar: Path, out: Path, *options: object, exact: tuple[object, ...] = EXACT
) -> dict[str, Any]:
    arguments = "--planet", scene, "--sar", sar, "-o", out, "--weights", "identity", *exact, *options
    done = cli("run", *arguments, "--qa", out.with_name("qa.tif"), "--write-mask", out.with_name("sky.tif"))
    assert done.exit_code == 0, done.output
    outputs = {"log": done.stderr}
    for name in ("out", "qa", "sky"):
        with rasterio.open(out.with_name(f"{name}.tif")) as dataset:
            outputs[name], outputs[f"{name}_tags"] = dataset.read(), dataset.tags()
    return outputs


def test_without_a_mask_clear_pixels_stay_bit_for_bit(
    cli: Cli, make_scene: Make, make_sar: Make, dn: np.ndarray, tmp_path: Path
) -> None:
    made = run(cli, make_scene(dn=dn), make_sar(), tmp_path / "out.tif")
    classes = made["qa"][0]
    inside = np.s_[66:114, 66:134]
    assert (classes[inside] == Qa.RECONSTRUCTED).all()
    assert (made["qa"][1][inside] == 100).all()
    far = np.ones((SIDE, SIDE), bool)
    for box in (CLOUD, SHADE):
        far[box[0].start - 20 : box[0].stop + 20, box[1].start - 20 : box[1].stop + 20] = False
    assert (classes[far & dn.any(axis=0)] == Qa.OBSERVED).all()
    np.testing.assert_array_equal(made["out"][:, far], dn[:, far])


def test_the_mask_that_was_used_is_written(
    cli: Cli, make_scene: Make, make_sar: Make, dn: np.ndarray, tmp_path: Path
) -> None:
    made = run(cli, make_scene(dn=dn), make_sar(), tmp_path / "out.tif", "--compress", "lzw")
    classes, percent = made["sky"]
    assert cog_validate(tmp_path / "sky.tif", strict=True, quiet=True)[0]
    assert (classes[:, 280:] == SKY_NODATA).all()
    assert (classes[66:114, 66:134] == SkyClass.CLOUD).all()
    assert (classes[186:214, 66:134] == SkyClass.SHADOW).all()
    assert (percent[66:114, 66:134] == 100).all()
    assert (classes[:50, :280] == SkyClass.CLEAR).all()
    assert not percent[:50, :280].any()
    assert "CLOUDFREE_FOUND" in made["out_tags"]
    with rasterio.open(tmp_path / "sky.tif") as dataset:
        assert dataset.colormap(1)[SkyClass.CLOUD] == (250, 250, 250, 255)
        assert "1 cloud" in dataset.descriptions[0]


@pytest.mark.slow
def test_beside_a_mask_only_if_wanted(
    cli: Cli, make_scene: Make, make_sar: Make, make_mask: Make, dn: np.ndarray, tmp_path: Path
) -> None:
    flagged = np.zeros((SIDE, SIDE))
    flagged[CLOUD] = 1
    scene, sar, mask = make_scene(dn=dn), make_sar(), ("--mask", make_mask(flagged))
    alone = run(cli, scene, sar, tmp_path / "out.tif", *mask)
    assert (alone["qa"][0][SHADE] == Qa.OBSERVED).all()
    assert (alone["sky"][0][CLOUD] == SkyClass.CLOUD).all(), "a mask without classes"
    both = run(cli, scene, sar, tmp_path / "out.tif", *mask, "--find-clouds", "always", "--overwrite")
    assert (both["qa"][1][186:214, 66:134] == 100).all()
    assert (both["sky"][0][CLOUD] == SkyClass.CLOUD).all()


def test_a_clear_scene_comes_out_as_it_went_in(cli: Cli, make_scene: Make, make_sar: Make, tmp_path: Path) -> None:
    scene = scene_dn(SIDE, SIDE)
    made = run(cli, make_scene(dn=scene), make_sar(), tmp_path / "out.tif")
    np.testing.assert_array_equal(made["out"], scene)
    assert (made["qa"][0] == Qa.OBSERVED).all()


@pytest.mark.slow
def test_a_haze_that_a_mask_leaves_out_is_followed_unless_told_otherwise(
    cli: Cli, make_scene: Make, make_sar: Make, make_mask: Make, tmp_path: Path
) -> None:
    """A rim of haze around a cloud: with the default limit it is gone, and what is far stays as it was."""
    clear = scene_dn(SIDE, SIDE)
    opacity = np.zeros((SIDE, SIDE), np.float32)
    opacity[90:180, 90:180], opacity[105:165, 105:165] = 0.3, 1
    dn = (clear * (1 - opacity) + 6000 * opacity).astype(np.uint16)
    scene, sar, mask = make_scene(dn=dn), make_sar(), make_mask(opacity == 1)
    arguments = "--planet", scene, "--sar", sar, "--mask", mask, "--buffer", 0
    off = {}
    for limit in (0, 300):
        out = tmp_path / f"{limit}.tif"
        done = cli("run", *arguments, "-o", out, "--edge-limit", limit, "-v")
        assert done.exit_code == 0, done.output
        with rasterio.open(out) as dataset:
            pixels = dataset.read()
        rim = np.zeros((SIDE, SIDE), bool)
        rim[93:102, 93:177] = True
        off[limit] = float(np.sqrt(np.square(pixels[:, rim].astype(float) - clear[:, rim]).mean()))
        np.testing.assert_array_equal(pixels[:, :60], dn[:, :60])
    assert off[300] < 0.5 * off[0]


@pytest.mark.parametrize("side", [1, 2, 5, 13, 18, 40])
def test_a_clear_scene_of_any_size_stays_as_it_is(
    cli: Cli, make_scene: Make, make_sar: Make, tmp_path: Path, side: int
) -> None:
    values = scene_dn(side, side)
    out = run(cli, make_scene(dn=values), make_sar(), tmp_path / "out.tif")
    np.testing.assert_array_equal(out["out"], values)
    assert (out["qa"][0] == Qa.OBSERVED).all()
    assert "WARNING" not in out["log"]


@pytest.mark.parametrize("shown", [np.s_[:, :], np.s_[:, 119:], np.s_[60:61, 60:61]])
def test_a_scene_all_under_cloud_gives_a_product(
    cli: Cli, make_scene: Make, make_sar: Make, tmp_path: Path, shown: tuple[slice, slice]
) -> None:
    values = np.zeros((4, 120, 120), np.uint16)
    values[:, *shown] = 8000
    out = run(cli, make_scene(dn=values), make_sar(), tmp_path / "out.tif")
    np.testing.assert_array_equal(out["out"] > 0, values > 0)
    warned = "100 % of the scene is taken for cloud, haze or shadow, as snow easily is" in out["log"]
    assert warned == (values[0].astype(bool).sum() > 1)  # of one pixel of 3 m nothing is found


# --- in other dates ---


def other_date(make_scene: Make, dn: np.ndarray, cloud: Any, name: str = "20240601_other.tif") -> Path:
    ground = np.clip(scene_dn(SIDE, SIDE) * 1.1, 1, 10000).astype(np.uint16)
    if cloud is not None:
        ground[:, *cloud] = 8000
    return make_scene(dn=ground, name=name)


@pytest.mark.parametrize("wanted", ["auto", "never"])
def test_clouds_of_another_date_without_a_mask_are_no_ground(
    make_scene: Make, make_sar: Make, make_mask: Make, dn: np.ndarray, tmp_path: Path, wanted: str
) -> None:
    """Its clear ground is used as it is, and nothing is looked for where that is not wanted."""
    mask, cloud = np.zeros((SIDE, SIDE)), np.s_[20:90, 20:180]
    mask[CLOUD] = mask[SHADE] = 1
    names = {"clear": None, "cloudy": cloud}
    paths = [other_date(make_scene, dn, at, f"2024060{n}_{name}.tif") for n, (name, at) in enumerate(names.items(), 1)]
    files = {"mask": make_mask(mask), "references": paths, "output": tmp_path / "out.tif", "weights": "identity"}
    options = cloudfree.Options.of(make_scene(dn=dn), make_sar(), find_clouds=wanted, coregister="off", **files)
    plan = cloudfree.make_plan(options)
    with plan.inputs.open() as reader:
        clear, cloudy = (np.isfinite(image).all(axis=0) for image in reader.others(plan.inputs.scene.grid))
    assert clear.all()
    assert [reference.found is not None for reference in plan.inputs.references] == [False, wanted == "auto"]
    assert cloudy[cloud].any() == (wanted == "never")
    assert cloudy[120:].all()
    shown = np.isfinite(plan.survey.others[1]).all(axis=0)
    assert shown.all() == (wanted == "never")
    assert shown[40:].all()


def test_bright_ground_everywhere_is_not_believed_to_be_cloud(
    cli: Cli, make_scene: Make, make_sar: Make, make_mask: Make, dn: np.ndarray, tmp_path: Path
) -> None:
    mask = np.zeros((SIDE, SIDE))
    mask[CLOUD] = 1
    bright = make_scene(dn=np.clip(scene_dn(SIDE, SIDE) + 5000, 1, 10000).astype(np.uint16), name="bright.tif")
    given = "--planet", make_scene(dn=dn), "--sar", make_sar(), "--mask", make_mask(mask), "--weights", "identity"
    done = cli("run", *given, *EXACT, "--reference", bright, "-o", tmp_path / "out.tif", "--json")
    assert done.exit_code == 0, done.output
    assert "bright.tif has no mask, and 100 % of it looks like cloud, which is not believed" in done.stderr
    assert json.loads(done.stdout)["references"][0]["file"].endswith("bright.tif")


def test_a_mask_of_its_own_is_enough(
    cli: Cli, make_scene: Make, make_sar: Make, make_mask: Make, dn: np.ndarray, tmp_path: Path
) -> None:
    reference = other_date(make_scene, dn, np.s_[20:90, 20:180], "20240601_101530_0f1a_3B_AnalyticMS_SR.tif")
    udm2 = np.zeros((8, SIDE, SIDE))
    udm2[0] = 1
    make_mask(udm2, name="20240601_101530_0f1a_3B_udm2.tif")
    mask = np.zeros((SIDE, SIDE))
    mask[CLOUD] = 1
    given = "--planet", make_scene(dn=dn), "--sar", make_sar(), "--mask", make_mask(mask), "--weights", "identity"
    done = cli("run", *given, *EXACT, "--reference", reference, "-o", tmp_path / "out.tif", "-v")
    assert done.exit_code == 0, done.output
    assert "looks like cloud" not in done.stderr


def test_with_no_buffer_what_is_found_is_rewritten_and_nothing_else(
    cli: Cli, make_scene: Make, make_sar: Make, dn: np.ndarray, tmp_path: Path
) -> None:
    """Pixels of 3 m, looked at on 10 m: the product changes under the mask that is written, to the pixel."""
    made = run(cli, make_scene(dn=dn), make_sar(), tmp_path / "out.tif")
    hidden = np.isin(made["sky"][0], (SkyClass.CLOUD, SkyClass.HAZE, SkyClass.SHADOW))
    rewritten = np.isin(made["qa"][0], RECONSTRUCTED)
    np.testing.assert_array_equal(rewritten, hidden)
    np.testing.assert_array_equal(made["out"][:, ~hidden], dn[:, ~hidden])
    for box in (CLOUD, SHADE):
        inside = np.zeros_like(hidden)
        inside[box] = True
        assert hidden[inside].mean() > 0.97
        beside = ndimage.binary_dilation(inside, iterations=4) & ~inside
        assert hidden[beside].mean() < 0.35, "pixels of 10 m that a cloud covers in part"
        hidden = hidden & ~ndimage.binary_dilation(inside, iterations=4)
    assert not hidden.any()


def test_a_buffer_is_counted_once_from_what_is_found(
    cli: Cli, make_scene: Make, make_sar: Make, dn: np.ndarray, tmp_path: Path
) -> None:
    made = run(cli, make_scene(dn=dn), make_sar(), tmp_path / "out.tif", exact=("--edge-limit", 0, "--buffer", 30))
    hidden = np.isin(made["sky"][0], (SkyClass.CLOUD, SkyClass.HAZE, SkyClass.SHADOW))
    away_m = 3 * ndimage.distance_transform_edt(~hidden)
    rewritten = np.isin(made["qa"][0], RECONSTRUCTED)
    assert rewritten[(away_m < 24) & dn.any(axis=0)].all()
    assert not rewritten[away_m > 36].any()


class Remembers(BrightOrDark):
    """A detector that keeps what it was shown of other dates."""

    def __init__(self) -> None:
        self.others: list[Image | None] = []

    def probability(self, view: detect.DetectorInput) -> Image:
        self.others.append(view.other)
        return super().probability(view)


def test_the_scene_is_compared_with_the_median_of_other_dates_where_they_are_clear(
    make_scene: Make, make_sar: Make, dn: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remembers = Remembers()
    monkeypatch.setattr("cloudfree.detect.load", lambda name, precision: remembers)
    cloud, factors = np.s_[20:90, 20:180], (1.0, 1.1, 1.5)
    names = [f"2024060{number}_other.tif" for number in range(1, 4)]
    paths = [
        other_date(make_scene, np.rint(dn * factor).astype(np.uint16), cloud if factor == 1.5 else None, name)
        for factor, name in zip(factors, names, strict=True)
    ]
    files = {"references": paths, "output": tmp_path / "out.tif", "weights": "identity"}
    plan = cloudfree.make_plan(cloudfree.Options.of(make_scene(dn=dn), make_sar(), coregister="off", **files))
    assert remembers.others[0] is None, "no date is known to be another yet"
    last = remembers.others[-1]
    assert last is not None
    shown = np.stack([np.where(np.isfinite(other), other, np.nan) for other in plan.survey.others])
    np.testing.assert_allclose(last, np.nanmedian(shown, axis=0), rtol=1e-5)


def test_what_is_taken_for_snow_stays_and_is_warned_of(
    cli: Cli, make_scene: Make, make_sar: Make, dn: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class TakesAllForSnow(BrightOrDark):
        def probability(self, view: detect.DetectorInput) -> Image:
            shares = np.zeros((5, *view.valid.shape), np.float32)
            shares[SkyClass.SNOW] = 1
            return shares

    monkeypatch.setattr("cloudfree.detect.load", lambda name, precision: TakesAllForSnow())
    made = run(cli, make_scene(dn=dn), make_sar(), tmp_path / "out.tif")
    assert "100 % of the scene is taken for snow, and stays as it is; an overcast sky may look so" in made["log"]
    assert "--reference" in made["log"]
    assert (made["sky"][0][:, :280] == SkyClass.SNOW).all()
    np.testing.assert_array_equal(made["out"], dn)


def test_beside_a_mask_nothing_is_looked_for_in_the_scene(
    make_scene: Make,
    make_sar: Make,
    make_mask: Make,
    dn: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    remembers = Remembers()
    monkeypatch.setattr("cloudfree.detect.load", lambda name, precision: remembers)
    mask = np.zeros((SIDE, SIDE))
    mask[CLOUD] = 1
    files = {"mask": make_mask(mask), "references": [other_date(make_scene, dn, None, "20240601_other.tif")]}
    options = cloudfree.Options.of(
        make_scene(dn=dn), make_sar(), output=tmp_path / "o.tif", weights="identity", **files
    )
    cloudfree.make_plan(options)
    assert remembers.others == [None], "the reference alone"


# --- shadows that clouds cast ---

PLANET_ID = "20240610_101530_0f1a"
SUN_AZIMUTH_DEG, SHADOW_DISTANCE_PX = 130, 60


@dataclass(frozen=True)
class ShadedScene:
    """A scene of 10 m with two clouds and their shadows (h, w), and a UDM2 that has no shadow."""

    path: Path
    dn: np.ndarray
    cloud: np.ndarray
    shadow: np.ndarray


@pytest.fixture
def shaded(make_scene: Make, make_mask: Make) -> ShadedScene:
    side = 200
    y, x = np.mgrid[:side, :side]
    cloud = (np.hypot(y - 130, x - 120) < 20) | (np.hypot(y - 80, x - 170) < 13)
    towards = np.deg2rad(SUN_AZIMUTH_DEG + 180)
    step = round(-SHADOW_DISTANCE_PX * np.cos(towards)), round(SHADOW_DISTANCE_PX * np.sin(towards))
    shadow = np.roll(cloud, step, (0, 1)) & ~cloud
    dn = np.where(shadow, 0.45 * scene_dn(side, side), scene_dn(side, side))
    dn = np.where(cloud, 7000, dn).astype(np.uint16)
    transform = Affine(10, 0, ORIGIN[0], 0, -10, ORIGIN[1])
    udm2 = np.zeros((8, side, side))
    udm2[0], udm2[5] = ~cloud, cloud
    make_mask(udm2, name=f"{PLANET_ID}_3B_udm2.tif", transform=transform)
    return ShadedScene(
        make_scene(dn=dn, transform=transform, name=f"{PLANET_ID}_3B_AnalyticMS_SR.tif"), dn, cloud, shadow
    )


def run_shaded(cli: Cli, scene: ShadedScene, out: Path, *options: object) -> tuple[np.ndarray, np.ndarray]:
    """The classes that are written (h, w), and the pixels of the product (4, h, w)."""
    mask = out.with_name("sky.tif")
    given = "--planet", scene.path, "-o", out, "--weights", "identity", "--write-mask", mask, "--overwrite"
    done = cli("run", *given, *options)
    assert done.exit_code == 0, done.output
    with rasterio.open(mask) as sky, rasterio.open(out) as product:
        return sky.read(1), product.read()


@pytest.mark.parametrize("sun", ["known", "unknown"])
def test_shadows_that_a_udm2_lacks_are_rewritten(cli: Cli, shaded: ShadedScene, tmp_path: Path, sun: str) -> None:
    if sun == "known":
        stated = {"sun_azimuth": SUN_AZIMUTH_DEG, "sun_elevation": 50, "view_angle": 1}
        shaded.path.with_name(f"{PLANET_ID}_metadata.json").write_text(json.dumps({"properties": stated}))
    classes, pixels = run_shaded(cli, shaded, tmp_path / "out.tif")
    assert (classes[shaded.shadow] == SkyClass.SHADOW).mean() > 0.85
    clear = ~ndimage.binary_dilation(shaded.shadow | shaded.cloud, iterations=6)
    assert (classes[clear] == SkyClass.SHADOW).mean() < 0.02
    assert pixels[3][shaded.shadow].mean() > 1.5 * shaded.dn[3][shaded.shadow].mean()
    classes, pixels = run_shaded(cli, shaded, tmp_path / "out.tif", *EXACT)
    assert not (classes == SkyClass.SHADOW).any()
    np.testing.assert_array_equal(pixels[:, shaded.shadow], shaded.dn[:, shaded.shadow])


def test_a_sun_elsewhere_keeps_darkness_from_being_shadow(cli: Cli, shaded: ShadedScene, tmp_path: Path) -> None:
    stated = {"sun_azimuth": SUN_AZIMUTH_DEG + 90, "sun_elevation": 50, "view_angle": 1}
    shaded.path.with_name(f"{PLANET_ID}_metadata.json").write_text(json.dumps({"properties": stated}))
    classes, _ = run_shaded(cli, shaded, tmp_path / "out.tif")
    assert (classes[shaded.shadow] == SkyClass.SHADOW).mean() < 0.1


def test_shadows_that_a_detector_lacks_are_found(
    cli: Cli, shaded: ShadedScene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It calls nothing in the scene shadow, which is not black."""
    shaded.path.with_name(f"{PLANET_ID}_3B_udm2.tif").unlink()
    classes, _ = run_shaded(cli, shaded, tmp_path / "out.tif", *EXACT)
    assert (classes[shaded.shadow] == SkyClass.SHADOW).mean() > 0.85
    assert (classes[shaded.cloud] == SkyClass.CLOUD).mean() > 0.95
    monkeypatch.setattr("cloudfree.scene.cast_shadows.cast", lambda *given: np.zeros(given[3].shape, bool))
    classes, _ = run_shaded(cli, shaded, tmp_path / "out.tif", *EXACT)
    assert not (classes == SkyClass.SHADOW).any()


def test_clouds_without_shadow_change_nothing(
    cli: Cli, shaded: ShadedScene, make_scene: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dn = np.where(shaded.cloud, 7000, scene_dn(*shaded.cloud.shape)).astype(np.uint16)
    make_scene(dn=dn, transform=Affine(10, 0, ORIGIN[0], 0, -10, ORIGIN[1]), name=shaded.path.name)
    classes, pixels = run_shaded(cli, shaded, tmp_path / "out.tif")
    monkeypatch.setattr("cloudfree.scene.cast_shadows.cast", lambda *given: np.zeros(given[3].shape, bool))
    without, pixels_without = run_shaded(cli, shaded, tmp_path / "out.tif")
    np.testing.assert_array_equal(classes, without)
    np.testing.assert_array_equal(pixels, pixels_without)
