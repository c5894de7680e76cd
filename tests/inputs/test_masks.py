from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from scipy.ndimage import distance_transform_edt
from support import ORIGIN, UTM33, scene_dn, write_raster

from cloudfree.bands import Udm2
from cloudfree.errors import GridError, InputError
from cloudfree.geometry import Grid, squared_distance_px
from cloudfree.inputs.masks.codes import MaskOptions, State
from cloudfree.inputs.masks.mask import identify_mask, identify_mask_of, identify_udm2
from cloudfree.inputs.optical.scene import identify_scene
from cloudfree.reconstruct.feather import Feather

SCENE = Grid(UTM33, Affine(3, 0, ORIGIN[0], 0, -3, ORIGIN[1]), 96, 96)
MakeMask = Callable[..., Path]


def test_udm2_counts_cloud_haze_and_shadow_but_not_snow_or_confidence(make_mask: MakeMask) -> None:
    bands = np.zeros((8, 96, 96))
    for band in Udm2:
        bands[band - 1, 10 * band : 10 * band + 5] = 1
    with identify_udm2(make_mask(bands), SCENE).open() as reader:
        cloudy = reader.on_grid(SCENE)
    for band in Udm2:
        expected = band.name in ("CLOUD", "SHADOW", "LIGHT_HAZE", "HEAVY_HAZE")
        assert (cloudy[10 * band : 10 * band + 5] == expected).all(), band.name


def test_a_mask_on_another_grid_is_taken_by_the_nearest_pixel(make_mask: MakeMask) -> None:
    coarse = np.zeros((32, 32))
    coarse[4:8, 10:20] = 255
    path = make_mask(coarse, transform=Affine(9, 0, ORIGIN[0], 0, -9, ORIGIN[1]))
    with identify_mask(path, SCENE).open() as reader:
        np.testing.assert_array_equal(reader.on_grid(SCENE), np.kron(coarse, np.ones((3, 3))) > 0)


def test_a_mask_fades_out_within_its_buffer() -> None:
    cloudy = np.zeros((1, 60), bool)
    cloudy[0, 0] = True
    share = Feather(buffer_px=20, feather_px=10).weight(cloudy)[0]
    assert (share[:11] == 1).all()
    assert (np.diff(share[10:21]) < 0).all()
    assert (share[20:] == 0).all()


def test_without_a_buffer_the_mask_is_all() -> None:
    cloudy = np.random.default_rng(0).random((40, 50)) > 0.9
    np.testing.assert_array_equal(Feather.of_pixel_size(3.0, 0.0).weight(cloudy), cloudy)


def test_strips_with_a_halo_equal_the_whole() -> None:
    cloudy = np.random.default_rng(0).random((200, 100)) > 0.999
    feather = Feather.of_pixel_size(SCENE.pixel_size_m)
    whole = feather.weight(cloudy)
    for start in range(0, 200, 40):
        first, last = max(0, start - feather.reach_px), min(200, start + 40 + feather.reach_px)
        strip = feather.weight(cloudy[first:last])[start - first : start - first + 40]
        np.testing.assert_array_equal(strip, whole[start : start + 40])


def test_what_is_no_mask_is_refused(make_mask: MakeMask) -> None:
    one = make_mask(np.zeros((96, 96)))
    with pytest.raises(InputError, match="UDM2 has 8"):
        identify_udm2(one, SCENE)
    with pytest.raises(InputError, match="a mask has one"):
        identify_mask(make_mask(np.zeros((3, 96, 96)), name="three.tif"), SCENE)
    far = make_mask(np.zeros((96, 96)), name="far.tif", transform=Affine(3, 0, ORIGIN[0] + 9e4, 0, -3, ORIGIN[1]))
    with pytest.raises(GridError, match="does not overlap"):
        identify_mask(far, SCENE)


# --- what its numbers mean ---

COLUMNS = np.broadcast_to(np.arange(96), (96, 96))
CLOUD = (COLUMNS >= 30) & (COLUMNS < 40)


def cloudy_of(path: Path, options: MaskOptions | None = None) -> np.ndarray:
    with identify_mask(path, SCENE, options).open() as reader:
        return reader.on_grid(SCENE)


def test_udm2_bands_by_name_before_order(make_mask: MakeMask) -> None:
    bands = np.zeros((8, 96, 96))
    bands[0] = CLOUD
    bands[1:3] = ~CLOUD
    names = ("UDM2_Cloud", "clear", "snow", "shadow", "light_haze", "heavy_haze", "cloud_confidence", "udm1")
    with identify_udm2(make_mask(bands, descriptions=names), SCENE).open() as reader:
        np.testing.assert_array_equal(reader.on_grid(SCENE), CLOUD)


@pytest.mark.parametrize("nodata", [255, None])
def test_255_in_a_udm2_is_unknown(make_mask: MakeMask, nodata: int | None) -> None:
    bands = np.where(COLUMNS < 20, 255, np.stack([~CLOUD, *[CLOUD * 0] * 4, CLOUD, CLOUD, CLOUD * 0]))
    with identify_udm2(make_mask(bands, nodata=nodata), SCENE).open() as reader:
        np.testing.assert_array_equal(reader.on_grid(SCENE), CLOUD)
        np.testing.assert_array_equal(reader.states(SCENE) == State.UNKNOWN, COLUMNS < 20)


def test_a_ninth_band_of_a_udm2_may_be_alpha(make_mask: MakeMask) -> None:
    bands = np.stack([~CLOUD, *[CLOUD * 0] * 4, CLOUD, CLOUD, CLOUD * 0, CLOUD * 0 + 255])
    with identify_udm2(make_mask(bands), SCENE).open() as reader:
        np.testing.assert_array_equal(reader.on_grid(SCENE), CLOUD)
    bands[8, 0, 0] = 7
    with pytest.raises(InputError, match="9 band"):
        identify_udm2(make_mask(bands), SCENE)


def test_a_scene_is_no_udm2(make_scene: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match="hold 0 and 1"):
        identify_udm2(make_scene(dn=scene_dn(96, 96, bands=8)), SCENE)


def test_a_clear_band_is_inverted_by_its_name(make_mask: MakeMask) -> None:
    path = make_mask(~CLOUD, descriptions=("UDM2_Clear",))
    np.testing.assert_array_equal(cloudy_of(path), CLOUD)


def test_classes_are_refused_until_they_are_told(make_mask: MakeMask) -> None:
    classes = np.where(CLOUD, 2, 1)
    classes[:10] = 3
    path = make_mask(classes)
    with pytest.raises(InputError, match=r"holds 1, 2, 3, .*--mask-values 2,3 .*arps.*--mask-bits"):
        identify_mask(path, SCENE)
    expected = CLOUD | (np.arange(96) < 10)[:, None]
    for text in ("2,3", "2-3", "arps", "ARPS"):
        np.testing.assert_array_equal(cloudy_of(path, MaskOptions(values=text)), expected)
    np.testing.assert_array_equal(cloudy_of(make_mask(classes, name="s2_arps.tif")), expected)
    with pytest.raises(InputError, match="neither numbers nor a preset"):
        identify_mask(path, SCENE, MaskOptions(values="clouds"))
    with pytest.raises(InputError, match="both given"):
        identify_mask(path, SCENE, MaskOptions(values="2", bits="1"))


CLEAR, UNKNOWN, CLOUDY = State
PUBLISHED = {
    # Sentinel-2 level 2A, scene classification (ESA): 0 to 11 in order.
    ("scl", None): {
        **dict.fromkeys((0, 1), UNKNOWN),  # no data, saturated or defective
        **dict.fromkeys((2, 4, 5, 6, 7, 11), CLEAR),  # dark, vegetation, bare, water, unclassified, snow
        **dict.fromkeys((3, 8, 9, 10), CLOUDY),  # cloud shadow, cloud of medium and high probability, thin cirrus
    },
    # Fmask 4: clear land, clear water, cloud shadow, snow, cloud, no observation.
    ("fmask", None): {0: CLEAR, 1: CLEAR, 2: CLOUDY, 3: CLEAR, 4: CLOUDY, 255: UNKNOWN},
    # Landsat Collection 2, QA_PIXEL (USGS): single bits, and values that the data format control book lists.
    (None, "qa_pixel"): {
        **{1 << 0: UNKNOWN},  # fill
        **dict.fromkeys((1 << bit for bit in (1, 2, 3, 4)), CLOUDY),  # dilated cloud, cirrus, cloud, cloud shadow
        **dict.fromkeys((1 << bit for bit in range(5, 16)), CLEAR),  # snow, clear, water; confidences
        **{21824: CLEAR, 21888: CLEAR, 30048: CLEAR},  # clear land and water, snow
        **{21826: CLOUDY, 22280: CLOUDY, 23888: CLOUDY, 54596: CLOUDY},  # dilated cloud, cloud, shadow, cirrus
    },
}


@pytest.mark.parametrize(("values", "bits"), PUBLISHED)
def test_presets_are_the_published_tables(tmp_path: Path, values: str | None, bits: str | None) -> None:
    table = PUBLISHED[values, bits]
    stored = np.zeros((1, 96, 96), np.uint16)
    stored[0, 0, : len(table)] = list(table)
    path = write_raster(tmp_path / "mask.tif", stored, SCENE.transform)
    with identify_mask(path, SCENE, MaskOptions(values, bits)).open() as reader:
        states = reader.states(SCENE)[0, : len(table)]
    assert dict(zip(table, map(State, states.tolist()), strict=True)) == table


def test_of_several_bands_the_one_that_is_called_cloud(make_mask: MakeMask) -> None:
    path = make_mask(np.stack([CLOUD * 0 + 5, CLOUD]), descriptions=("scene_provenance", "cloud_mask"))
    np.testing.assert_array_equal(cloudy_of(path), CLOUD)


@pytest.mark.parametrize(
    ("name", "bits_option"), [("20220515_3B_AnalyticMS_DN_udm.tif", None), ("m.tif", "udm1"), ("m.tif", "1")]
)
def test_the_older_mask_is_a_bit_field(make_mask: MakeMask, name: str, bits_option: str | None) -> None:
    bits = np.where(COLUMNS < 20, 1, 0) | np.where(CLOUD, 2, 0) | np.where(COLUMNS >= 80, 4, 0)
    path = make_mask(bits, name=name)
    np.testing.assert_array_equal(cloudy_of(path, MaskOptions(bits=bits_option) if bits_option else None), CLOUD)
    with pytest.raises(InputError, match="has 1 band"):
        identify_udm2(path, SCENE)


@pytest.mark.parametrize("unknown", ["cloud", "clear"])
def test_unknown_ground_is_warned_of_and_counts_as_the_option_says(
    make_mask: MakeMask, make_scene: Callable[..., Path], caplog: pytest.LogCaptureFixture, unknown: str
) -> None:
    """Ground alone: where the scene has no data, what the mask does not know is no cloud."""
    dn = scene_dn(96, 96)
    dn[:, :, :10] = 0
    path = make_mask(np.where(COLUMNS < 20, 255, CLOUD), nodata=255)
    mask = identify_mask_of(identify_scene(make_scene(dn=dn)), None, path, MaskOptions(unknown=unknown))
    assert "11.6 % of the scene" in caplog.text  # 10 of 86 columns
    assert mask is not None
    expected = CLOUD | ((COLUMNS >= 10) & (COLUMNS < 20)) if unknown == "cloud" else CLOUD
    with mask.open() as reader:
        np.testing.assert_array_equal(reader.on_grid(SCENE), expected)
        strips = [reader.on_grid(SCENE.rows(row, row + 12)) for row in range(0, 96, 12)]
    np.testing.assert_array_equal(np.concatenate(strips), expected)


@pytest.mark.parametrize("side", [96, 700])
def test_the_edge_of_a_collar_is_no_unknown_ground(
    make_scene: Callable[..., Path], make_mask: MakeMask, caplog: pytest.LogCaptureFixture, side: int
) -> None:
    """Of large scenes too, which are looked at thinned: Planet's UDM2 is 0 in all classes where there is no data."""
    dn, (row, col) = scene_dn(side, side), np.mgrid[:side, :side]
    collar = (col < side * 0.1 + row / 4) | (col > side * 0.7 + row / 4)
    dn[:, collar] = 0
    udm2 = np.zeros((8, side, side), np.uint8)
    udm2[0], udm2[6], udm2[7] = ~collar, np.where(collar, 0, 90), collar
    scene = identify_scene(make_scene(dn=dn))
    assert identify_mask_of(scene, make_mask(udm2), None)
    assert "says nothing" not in caplog.text
    udm2[0, :, side // 2 :] = 0
    identify_mask_of(scene, make_mask(udm2, name="half.tif"), None)
    assert "says nothing" in caplog.text


def test_a_udm2_that_classifies_nothing_is_warned_of(
    make_mask: MakeMask, make_scene: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    bands = np.zeros((8, 96, 96))
    scene = identify_scene(make_scene())
    identify_mask_of(scene, make_mask(bands), None)
    assert "classifies no pixel of the scene" in caplog.text
    caplog.clear()
    bands[0] = 1
    identify_mask_of(scene, make_mask(bands), None)
    assert not caplog.text


def test_a_udm2_beside_the_scene_that_is_of_no_use_is_left_out(
    make_mask: MakeMask, make_scene: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    scene = identify_scene(make_scene(name="20211008_002442_03_2456_3B_AnalyticMS_SR.tif"))
    far = Affine(3, 0, ORIGIN[0] + 9e4, 0, -3, ORIGIN[1])
    path = make_mask(np.zeros((8, 96, 96)), name="20211008_002442_03_2456_3B_udm2.tif", transform=far)
    assert identify_mask_of(scene, None, None) is None
    assert "left out" in caplog.text
    with pytest.raises(GridError, match="does not overlap"):
        identify_mask_of(scene, path, None)


@pytest.mark.parametrize("reach_px", [1, 4, 20, 200])
@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (70, 90), (70, 1100)])
def test_distances_near_a_mask_are_those_of_the_distance_transform(shape: tuple[int, int], reach_px: int) -> None:
    rng = np.random.default_rng(0)
    for share in (0.002, 0.05, 0.5, 1.0):
        mask = rng.random(shape) < share
        mask.flat[rng.integers(mask.size)] = True
        exact = np.rint(distance_transform_edt(~mask) ** 2)
        squared = squared_distance_px(mask, reach_px)
        near = exact <= reach_px**2
        np.testing.assert_array_equal(squared[near], exact[near])
        assert (squared[~near] > reach_px**2).all()
