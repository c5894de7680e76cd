"""Other dates come with a user's scenes, from where they belong."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from click.testing import Result
from support import ORIGIN, pattern, scene_dn, write_raster

from cloudfree.errors import InputError
from cloudfree.learn import adapt as adapting
from cloudfree.learn.places import Place
from cloudfree.learn.sample_grounds import read_grounds
from cloudfree.learn.scenes import ClearGround, read_manifest
from cloudfree.network.models import CloudRemovalModel, UNet, UNetConfig
from cloudfree.network.weights import save_model

Cli = Callable[..., Result]
SIDE = 240
GRID_3M = Affine(3, 0, ORIGIN[0], 0, -3, ORIGIN[1])


@pytest.fixture
def files(make_scene: Callable[..., Path], make_sar: Callable[..., Path], make_mask: Callable[..., Path]) -> Path:
    """A scene under a cloud, its radar and mask, and another date of it with a gap, that lies 24 m too far east."""
    truth = np.clip(scene_dn(SIDE, SIDE) + 300 * pattern(SIDE, SIDE, 3, 2.0), 200, 6000).astype(np.uint16)
    cloud = np.zeros((SIDE, SIDE), np.uint8)
    cloud[80:150, 90:170] = 1
    other = (0.8 * truth + 400).astype(np.uint16)
    other[:, :20] = 0
    planet = make_scene(dn=np.where(cloud, np.uint16(9000), truth))
    make_sar()
    make_mask(cloud)
    write_raster(planet.with_name("moved.tif"), other, Affine.translation(24, 0) @ GRID_3M, nodata=0)
    return planet.parent


def check(places: list[Place]) -> None:
    """Other dates come with their windows, from where they belong, and say nothing where they have no data."""
    known = False
    for place in places:
        (other,) = place.others
        assert other.shape == place.reflectance.shape
        shown = np.isfinite(other[0]) & ~place.hidden
        off = other[:, shown] - (0.8 * place.reflectance + 0.04)[:, shown]
        assert np.sqrt(np.square(off).mean()) < 0.012, "0.06 where it is left 24 m off"
        known |= bool(np.isnan(other).any())
    assert known


def test_scenes_of_a_list_bring_other_dates(files: Path) -> None:
    write_raster(files / "far.tif", scene_dn(SIDE, SIDE), Affine.translation(50_000, 0) @ GRID_3M, nodata=0)
    path = files / "scenes.csv"
    path.write_text("planet,sar,mask,reference\nscene.tif,s1.tif,mask.tif,moved.tif; far.tif\n")
    check(read_manifest(path, 64, 8))
    (series,), held_out = read_grounds((path,), None, ())
    assert not held_out, "of one scene"
    check([window for (window,) in series])
    path.write_text("planet,sar,mask,reference\nscene.tif,s1.tif,mask.tif,\n")
    assert all(place.others == () for place in read_manifest(path, 64, 8))
    path.write_text("planet,sar,mask,reference\nscene.tif,s1.tif,mask.tif,typo.tif\n")
    with pytest.raises(InputError, match=r"typo\.tif does not exist; a reference"):
        read_manifest(path, 64, 8)


@pytest.mark.parametrize("command", [("adapt", "-o", "adapted.safetensors"), ("run", "-o", "out.tif", "--adapt=0.1")])
def test_a_scene_is_adapted_to_with_its_other_dates(
    command: tuple[str, ...], files: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []

    def spy(model: CloudRemovalModel, ground: ClearGround, *_: object) -> adapting.Tuned:
        found.extend(ground.places)
        return adapting.Tuned(model, 0.0, 0.0, 0)

    monkeypatch.setattr(adapting, "fine_tune", spy)
    monkeypatch.chdir(files)
    model = UNet(UNetConfig(4))
    model.start_as_identity()
    save_model(model, files / "tiny.safetensors")
    inputs = ("--planet", "scene.tif", "--sar", "s1.tif", "--mask", "mask.tif", "--weights", "tiny.safetensors")
    done = cli(*command, *inputs, "--reference", "moved.tif")
    assert done.exit_code == 0, done.output
    check(found)
