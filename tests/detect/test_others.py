"""Other people's detectors, by stand-ins that answer as documented, and what is said when they are missing."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from cloudfree.bands import SkyClass
from cloudfree.detect import NAMES, find_sky, load
from cloudfree.errors import CloudfreeError

VALID = np.ones((40, 50), bool)
SEEN = np.full((4, 40, 50), 0.1, np.float32) * np.array([1, 2, 3, 4], np.float32)[:, None, None]


@pytest.fixture
def omnicloudmask(monkeypatch):
    """A module whose right half is thin cloud, and a lower strip shadow; it keeps what it was shown."""
    module = ModuleType("omnicloudmask")

    def predict_from_array(input_array, *, export_confidence=False, softmax_output=True):
        assert export_confidence
        assert softmax_output
        module.shown = input_array
        confidence = np.zeros((4, *input_array.shape[1:]), np.float32)
        confidence[0] = 0.75
        confidence[1] = 0.25
        confidence[:, :, 25:] = np.array([0.1, 0.1, 0.8, 0])[:, None, None]
        confidence[:, 30:] = np.array([0, 0, 0, 1])[:, None, None]
        return confidence

    module.predict_from_array = predict_from_array
    monkeypatch.setitem(sys.modules, "omnicloudmask", module)
    return module


@pytest.fixture
def ukis_csmask(monkeypatch):
    package, module = ModuleType("ukis_csmask"), ModuleType("ukis_csmask.mask")

    class CSmask:
        def __init__(self, img, band_order, product_level="l1c", nodata_value=None):
            assert img.dtype == np.float32
            assert band_order == ["blue", "green", "red", "nir"]
            module.shown = img
            self.csm = np.zeros((*img.shape[:2], 1), np.uint8)
            self.csm[: img.shape[0] // 2] = 1
            self.csm[:, : img.shape[1] // 4] = 2

    module.CSmask, package.mask = CSmask, module
    monkeypatch.setitem(sys.modules, "ukis_csmask", package)
    monkeypatch.setitem(sys.modules, "ukis_csmask.mask", module)
    return module


def test_omnicloudmask_sees_red_green_nir_and_its_classes_become_ours(omnicloudmask):
    valid = VALID.copy()
    valid[0, 0] = False
    found = find_sky(SEEN, valid, 10.0, load("omnicloudmask"))
    np.testing.assert_allclose(omnicloudmask.shown[:, 5, 5], [3000, 2000, 4000], rtol=1e-5)
    assert (omnicloudmask.shown[:, 0, 0] == 0).all()
    assert found.classes[5, 5] == SkyClass.CLEAR
    assert found.classes[5, 40] == SkyClass.HAZE
    assert found.classes[35, 5] == SkyClass.SHADOW
    assert found.probability[SkyClass.CLOUD, 5, 5] == 0.25


def test_omnicloudmask_that_answers_otherwise_is_refused_in_one_line(omnicloudmask):
    omnicloudmask.predict_from_array = lambda array, **_: np.zeros((1, *array.shape[1:]))
    with pytest.raises(CloudfreeError) as refusal:
        find_sky(SEEN, VALID, 10.0, load("omnicloudmask"))
    assert "install a release" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_csmask_is_shown_30_m_and_its_classes_become_ours(ukis_csmask):
    found = find_sky(np.repeat(np.repeat(SEEN, 3, 1), 3, 2), np.ones((120, 150), bool), 10.0, load("csmask"))
    assert ukis_csmask.shown.shape == (40, 50, 4)
    np.testing.assert_allclose(ukis_csmask.shown[5, 5], [0.1, 0.2, 0.3, 0.4], rtol=1e-5)
    assert found.classes[10, 140] == SkyClass.CLOUD
    assert found.classes[110, 140] == SkyClass.CLEAR
    assert found.classes[10, 10] == SkyClass.SHADOW


@pytest.mark.parametrize("name", ["omnicloudmask", "csmask"])
def test_a_missing_extra_is_one_line_that_says_what_to_install(name, monkeypatch):
    for module in ("omnicloudmask", "ukis_csmask", "ukis_csmask.mask"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(CloudfreeError) as refusal:
        load(name)
    assert f"pip install cloudfree[{name}]" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_an_unknown_name_is_refused_with_those_that_are_known():
    with pytest.raises(CloudfreeError, match="own, omnicloudmask, csmask"):
        load("fmask")
    assert NAMES[0] == "own"


def test_a_detector_may_be_anything_that_keeps_the_promise():
    def probability(scene):
        assert scene.reflectance.shape == (4, *scene.valid.shape)
        return np.array([0.1, 0.5, 0.2, 0.2, 0], np.float32)[:, None, None] + np.zeros(scene.valid.shape, np.float32)

    found = find_sky(SEEN, VALID, 10.0, SimpleNamespace(name="x", pixel_size_m=10.0, probability=probability))
    assert found.hidden.all()
