"""Other dates in learning: they turn and are cut with the place, prefill its samples, and come with a user's scenes."""

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from click.testing import Result
from support import ORIGIN, TINY_ONE_BLOCK, pattern, sar_values_db, scene_dn, write_raster

from cloudfree.errors import InputError
from cloudfree.evaluate.triplets import find
from cloudfree.learn import adapt as adapting
from cloudfree.learn.clouded_places import CloudedPlaces
from cloudfree.learn.pairs import Pairs
from cloudfree.learn.places import Place
from cloudfree.learn.samples import Sample
from cloudfree.learn.scenes import ClearGround, read_manifest
from cloudfree.network.models import AlignCR, CloudRemovalModel
from cloudfree.network.weights import save_model
from cloudfree.simulate.clouds import CloudLayer, cloud_layer

Cli = Callable[..., Result]
SIDE = 240
GRID_3M = Affine(3, 0, ORIGIN[0], 0, -3, ORIGIN[1])


def draws(source: CloudedPlaces | Pairs, count: int = 6) -> list[Sample]:
    rng = np.random.default_rng(1)
    return [source.draw(rng) for _ in range(count)]


def error(samples: list[Sample]) -> float:
    """Root mean square of what prefilled samples show in place of the clouds."""
    off = [(sample.cloudy - sample.clear)[:, sample.mask & sample.known].ravel() for sample in samples]
    return float(np.sqrt(np.square(np.concatenate(off)).mean()))


def block(rng: np.random.Generator, side: int) -> CloudLayer:
    """One cloud that hides everything behind it."""
    shape, nothing = np.zeros((side, side), bool), np.zeros((side, side), bool)
    shape[side // 3 : side // 2, side // 3 : side // 2] = True
    opacity, shadow = shape.astype(np.float32), nothing.astype(np.float32)
    overcast = cloud_layer(rng, side, side, cover=1.0)
    return replace(overcast, opacity=opacity, shadow=shadow, cloud=shape, haze=nothing, shade=nothing)


def equal(one: list[Sample], other: list[Sample]) -> bool:
    return all(
        np.array_equal(getattr(a, field.name), getattr(b, field.name))
        for a, b in zip(one, other, strict=True)
        for field in fields(Sample)
    )


@pytest.fixture
def place() -> Place:
    """Ground with detail of which radar knows nothing, and another date of it in another light."""
    detail = 0.04 * pattern(120, 120, 3, 1.5)
    clear = np.stack([0.25 + 0.05 * band + detail for band in range(4)]).astype(np.float32)
    other = np.float32(0.8) * clear + np.float32(0.02)
    other[:, :, :40] = np.nan
    return Place("here", clear, (sar_values_db(120, 120),), np.ones((120, 120), bool), 3.0, others=(other,))


@pytest.mark.parametrize("colour_jitter", [True, False])
def test_samples_are_prefilled_by_other_dates_however_turned_and_cut(place: Place, colour_jitter: bool) -> None:
    with_other, alone = (
        error(draws(CloudedPlaces([each], 64, 1.0, block, colour_jitter=colour_jitter)))
        for each in (place, replace(place, others=()))
    )
    assert with_other < 0.6 * alone


def test_other_dates_are_not_used_where_nothing_is_prefilled(place: Place) -> None:
    assert equal(draws(CloudedPlaces([place], 64)), draws(CloudedPlaces([replace(place, others=())], 64)))


def test_a_date_that_shows_nothing_of_a_place_changes_nothing(place: Place) -> None:
    blind = replace(place, others=(np.full_like(place.others[0], np.nan),))
    alone = replace(place, others=())
    assert equal(*(draws(CloudedPlaces([each], 64, 1.0, block), 2) for each in (blind, alone)))


def test_pairs_are_prefilled_by_other_dates(place: Place, tmp_path: Path) -> None:
    clear, mask = np.rint(1e4 * place.reflectance).astype(np.uint16), np.zeros((120, 120), np.uint8)
    mask[40:80, 50:90] = 1
    other = np.rint(8e3 * place.reflectance + 200).astype(np.uint16)
    for name, values in (("clear", clear), ("cloudy", np.where(mask, np.uint16(9000), clear)), ("mask", mask[None])):
        write_raster(tmp_path / f"here_{name}.tif", values, GRID_3M)
    write_raster(tmp_path / "here_sar.tif", place.sar_db[0], GRID_3M, descriptions=("VV", "VH"))
    alone = error(draws(Pairs(find(tmp_path), 96, prefill=1.0)))
    write_raster(tmp_path / "here_reference.tif", other, GRID_3M, nodata=0)
    assert error(draws(Pairs(find(tmp_path), 96, prefill=1.0))) < 0.2 * alone


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
    model = AlignCR(TINY_ONE_BLOCK)
    model.start_as_identity()
    model.expects_prefill = True
    save_model(model, files / "tiny.safetensors")
    inputs = ("--planet", "scene.tif", "--sar", "s1.tif", "--mask", "mask.tif", "--weights", "tiny.safetensors")
    done = cli(*command, *inputs, "--reference", "moved.tif")
    assert done.exit_code == 0, done.output
    check(found)
