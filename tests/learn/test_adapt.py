"""Fine-tuning on a scene: it learns from clear ground only, and never makes weights worse by its own measure."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from affine import Affine
from click.testing import Result
from support import ORIGIN, TINY_ONE_BLOCK, write_raster

from cloudfree.errors import InputError
from cloudfree.geometry import Displacement
from cloudfree.inputs.files import InputOptions, Inputs, identify
from cloudfree.learn import adapt as adapting
from cloudfree.learn import scenes
from cloudfree.learn.cloud_layers import simulated_layer
from cloudfree.learn.clouded_places import CloudedPlaces
from cloudfree.learn.obscured_windows import ObscuredWindows
from cloudfree.network.models import AlignCR, UNet, UNetConfig
from cloudfree.network.weights import load_model, save_model
from cloudfree.simulate.landscape import landscape

Cli = Callable[..., Result]
SIDE = 300


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """A scene of a made-up place, a cloud over its corner, its SAR, and weights of a network as published."""
    monkeypatch.setattr(adapting, "_VALIDATION_SAMPLES", 3)
    monkeypatch.setattr(adapting, "_CHECK_EVERY", 4)
    monkeypatch.setattr(adapting, "_LEARNING_RATE", 3e-3)
    monkeypatch.setattr(scenes, "_WINDOW_PX", 120)
    land = landscape(np.random.default_rng(2), SIDE, SIDE)
    cloud = np.zeros((SIDE, SIDE), bool)
    cloud[:80, :90] = True
    dn = np.where(cloud, 8000, np.clip(land.reflectance * 1e4, 1, 9999)).astype(np.uint16)
    grid = Affine(3, 0, ORIGIN[0], 0, -3, ORIGIN[1])
    model = AlignCR(TINY_ONE_BLOCK)
    model.start_as_identity()
    torch.nn.init.constant_(model.get_parameter("UPNet.2.bias"), 0.05)  # a colour that the scene can put right
    return {
        "planet": write_raster(tmp_path / "scene.tif", dn, grid, nodata=0),
        "sar": write_raster(tmp_path / "s1.tif", land.sar_db, grid, descriptions=("VV", "VH")),
        "mask": write_raster(tmp_path / "mask.tif", cloud[None].astype(np.uint8), grid),
        "weights": save_model(model, tmp_path / "tiny.safetensors"),
    }


def inputs_of(files: dict[str, Path]) -> tuple[Inputs, Displacement]:
    inputs = identify(InputOptions(planet=files["planet"], sar=(files["sar"],), mask=files["mask"]))
    return inputs, Displacement(inputs.scene.grid)


def ground_of(files: dict[str, Path]) -> scenes.ClearGround:
    inputs, displacement = inputs_of(files)
    with inputs.open() as reader:
        return scenes.find_clear_ground(inputs.scene, reader, displacement, buffer_m=30.0, crop=96, count=60)


def test_clear_ground_is_known_and_clouds_are_not(files: dict[str, Path]) -> None:
    found = ground_of(files)
    assert len(found.places) >= 4
    assert any(place.hidden.any() for place in found.places)
    for place in found.places:
        assert place.reflectance[:, ~place.hidden].max() < 0.75
    assert any(0 < shape.mean() < 1 for shape in found.shapes)


def test_what_the_scene_hides_is_never_the_truth_of_a_sample(files: dict[str, Path]) -> None:
    found = ground_of(files)
    places = [place for place in found.places if place.hidden.any()]
    sampler = CloudedPlaces(places, 96, colour_jitter=False)
    rng = np.random.default_rng(3)
    samples = [sampler.draw(rng) for _ in range(10)]
    assert any(not sample.known.all() for sample in samples)
    for sample in samples:
        assert sample.clear[:, sample.known].max() < 0.75


@pytest.fixture(params=["published", "seeing"])
def weights(request: pytest.FixtureRequest, files: dict[str, Path], tmp_path: Path) -> Path:
    """Of either kind, with an error that the scene can put right."""
    if request.param == "published":
        return files["weights"]
    model = UNet(UNetConfig(4))
    model.start_as_identity()
    torch.nn.init.constant_(model.answer.bias, 1.0)
    return save_model(model, tmp_path / "seeing.safetensors")


def test_windows_are_shown_to_a_network_that_sees(files: dict[str, Path]) -> None:
    found = ground_of(files)
    drawn = []
    for _ in range(2):
        source, rng = ObscuredWindows(found.places, simulated_layer, 64), np.random.default_rng(1)
        drawn.append([source.draw(rng) for _ in range(6)])
    for sample, again in zip(*drawn, strict=True):
        np.testing.assert_array_equal(sample.observed, again.observed)
        assert sample.truth.shape == (4, 64, 64)
        assert sample.truth[:, sample.known].max() < 0.75
        assert sample.hidden[~sample.known].all()
    assert any(sample.counted.any() for sample in drawn[0])


def test_windows_that_leave_nothing_clear_are_refused(files: dict[str, Path]) -> None:
    places = [replace(place, hidden=np.ones_like(place.valid)) for place in ground_of(files).places]
    with pytest.raises(InputError, match="no window of the scene keeps clear ground"):
        ObscuredWindows(places, simulated_layer, 64).draw(np.random.default_rng(0))


@pytest.mark.slow
def test_it_learns_and_says_so(cli: Cli, files: dict[str, Path], weights: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    out = tmp_path / "adapted.safetensors"
    inputs = [f"--{name}={path}" for name, path in {**files, "weights": weights}.items()]
    done = cli("adapt", *inputs, "-o", out, "--minutes", 0.5, "-v")
    assert done.exit_code == 0, done.output
    provenance = load_model(out).info.provenance
    assert provenance["adapted_to"] == "scene.tif"
    scores = provenance["adaptation"]["held_out_psnr_db"]
    assert scores["after"] > scores["before"]


@pytest.mark.slow
def test_weights_stay_where_nothing_is_gained(
    files: dict[str, Path], weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapting, "_LEARNING_RATE", 0.0)
    monkeypatch.setattr(adapting, "_PATIENCE", 1)
    model = load_model(weights)
    assert adapting.adapt(model, *inputs_of(files), buffer_m=30.0, minutes=1, device="cpu") is model


@pytest.mark.slow
def test_a_run_tells_that_it_did_not_help(
    cli: Cli, files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapting, "_LEARNING_RATE", 0.0)
    monkeypatch.setattr(adapting, "_PATIENCE", 1)
    inputs = [word for name, path in files.items() for word in (f"--{name}", path)]
    done = cli("run", *inputs, "-o", tmp_path / "out.tif", "--adapt", 1, "--json", "--quiet")
    assert done.exit_code == 0, done.output
    assert any("adaptation did not help" in warning for warning in json.loads(done.stdout)["warnings"])


@pytest.mark.slow
def test_run_adapts_first(cli: Cli, files: dict[str, Path], tmp_path: Path) -> None:
    inputs = [f"--{name}={files[name]}" for name in ("planet", "sar", "mask", "weights")]
    done = cli("run", *inputs, "-o", tmp_path / "out.tif", "--adapt", 0.05, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["seconds"]["adapt"] > 0


def test_a_scene_without_clear_ground_is_refused(files: dict[str, Path], tmp_path: Path) -> None:
    write_raster(files["mask"], np.ones((1, SIDE, SIDE), np.uint8), Affine(3, 0, ORIGIN[0], 0, -3, ORIGIN[1]))
    with pytest.raises(InputError, match="clear ground"):
        adapting.adapt(load_model(files["weights"]), *inputs_of(files), buffer_m=30.0, minutes=1, device="cpu")
