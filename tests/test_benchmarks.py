"""Every script of benchmarks/ runs to its end, at a tiny size, on data that is made here."""

import importlib.util
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from support import write_raster

from cloudfree.simulate.clouds import Sky, add_clouds, cloud_layer
from cloudfree.simulate.landscape import landscape

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
CHECKOUT = BENCHMARKS.parent
GRID = Affine(10, 0, 5e5, 0, -10, 5e6)
SKY = Sky(cell_m=900, haze_share=0.5)

SCRIPTS = {
    "attack.py": "--only line_of_the_log",
    "batch.py": "--scenes 2 --bad 1 --kills 1 --together 1 --side 96 --workers 1",
    "coregister/other_dates.py": "--data {data} --only known unrelated scene --draws 1 --side 1200",
    "coregister/run.py": "--data {data} --side 400 --draws 1",
    "fuzz.py": "--seeds 1 --kinds scene",
    "kernels.py": "",
    "network.py": "--tile 64 --precision fp32 bf16 --repeats 1 --device cpu",
    "quality/dates.py": "--data {data} --output {out}",
    "quality/detect.py": "--data {data} --measure-only --count 2 --side 200 --pictures {out}",
    "quality/fit_global_prior.py": "{data}/pairs --output {out}/prior.json",
    "quality/haze.py": "--data {data}/pairs --count 1",
    "quality/run.py": "--data {data} --output {out} --weights identity",
    "quality/series.py": "--measure {data}/measure --output {out} --count 1",
    "same_products.py": f"{CHECKOUT} {CHECKOUT} --only 'sample, align'",
    "scene.py": "--side 256 --mask --network-side 256",
    "scene_model.py": "--side 512",
    "seams.py": "--side 128 --pictures {out}",
}
PARTS = {"damages.py", "compiled.py"}
"""Modules of scripts."""
FORKS = {"fuzz.py"}
"""Scripts that fork, which is safe in a process without other threads alone."""


def test_each_script_is_run() -> None:
    assert set(SCRIPTS) | PARTS == {path.relative_to(BENCHMARKS).as_posix() for path in BENCHMARKS.rglob("*.py")}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small images by the names of those in ../shared/data: clear pairs, dates of a place, cloudy images."""
    folder = tmp_path_factory.mktemp("data")
    for name in ("pairs", "dates", "clouds", "cloudy_clear"):
        (folder / name).mkdir()
    for number, month in enumerate(("0060c0a5_10", "0060c0a5_11", "288afc34_00", "288afc34_03", "288afc34_06")):
        write_pair(folder / "pairs" / f"biomassters_{month}", number, 96, cloudy=month[-2:] in ("11", "00", "06"))
    for number in (5, 6):
        write_pair(folder / "pairs" / f"terramind_{number}", number, 224)
    for number, day in enumerate(("0601", "0605", "0620")):
        write_pair(folder / "dates" / f"worldcereal_1_2024{day}", number, 96)
    write_planet(folder / "planet/m3r-cr/train/planet_cloudfree_fall/planet_cloudfree_fall_1")
    for number, name in enumerate(("clouds/here_1", "clouds/there_1", "cloudy_clear/a", "cloudy_clear/b")):
        write_clouded(folder / name, number, 224 if name.startswith("clouds") else 96)
    (folder / "measure").mkdir()
    (folder / "measure" / "series.py").write_text(SERIES)
    (folder / "data").symlink_to(folder)  # beside the measures
    return folder


SERIES = """
from types import SimpleNamespace
import numpy as np
from cloudfree.simulate.landscape import landscape

def cases():
    truth = landscape(np.random.default_rng(1), 96, 96, pixel_size_m=10.0).reflectance
    mask = np.zeros((96, 96), bool)
    mask[30:60, 30:70] = True
    others = [0.9 * truth, 1.05 * truth]
    yield SimpleNamespace(name="here under a square", truth=truth, others=others, days=[-5, 5], mask=mask,
                          scene=np.where(mask, 0.5 * truth, truth))

def speckle(shape):
    return np.random.default_rng(2).normal([[[-10]], [[-17]]], 1, (2, *shape)).astype("f4")

def lift(cloudy, ground, mask):
    return np.where(mask, cloudy, 0), np.where(mask, 0, 1)

def over(light, transmittance, ground):
    return light + transmittance * ground

def between(scene, others, days, mask):
    return sum(others) / len(others)
"""
"""As the folder of measures has it: cases with a truth, and simple rivals."""


def write_pair(stem: Path, seed: int, side: int, cloudy: bool = False) -> None:
    land = landscape(np.random.default_rng(seed), side, side, pixel_size_m=10.0)
    write_raster(Path(f"{stem}_optical.tif"), as_dn(land.reflectance), GRID)
    write_raster(Path(f"{stem}_sar.tif"), land.sar_db, GRID, descriptions=("VV", "VH"))
    if cloudy:
        probability = np.zeros((1, side, side), np.uint8)
        probability[:, 20:60, 20:60] = 90
        write_raster(Path(f"{stem}_cloudprob.tif"), probability, GRID)


def write_clouded(stem: Path, seed: int, side: int) -> None:
    rng = np.random.default_rng(seed)
    land = landscape(rng, side, side, pixel_size_m=10.0)
    layer = cloud_layer(rng, side, side, pixel_size_m=10.0, cover=0.4, sky=SKY)
    write_raster(Path(f"{stem}_cloudy.tif"), as_dn(add_clouds(land.reflectance, layer)), GRID)
    write_raster(Path(f"{stem}_clear.tif"), as_dn(land.reflectance), GRID)
    write_raster(Path(f"{stem}_sar.tif"), land.sar_db, GRID, descriptions=("VV", "VH"))
    write_raster(Path(f"{stem}_mask.tif"), layer.mask[None].astype(np.uint8), GRID)


def write_planet(folder: Path) -> None:
    folder.mkdir(parents=True)
    land = landscape(np.random.default_rng(9), 240, 240)
    dn = as_dn(land.reflectance)
    write_raster(folder / "planet_cloudfree_fall_1_p_457.tif", dn, Affine(3, 0, 5e5, 0, -3, 5e6), nodata=0)


def as_dn(reflectance: np.ndarray) -> np.ndarray:
    return np.clip(1e4 * reflectance, 1, 20_000).astype(np.uint16)


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_it_runs(
    script: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    path = BENCHMARKS / script
    words = shlex.split(SCRIPTS[script].format(data=data, out=tmp_path))
    if script in FORKS:
        subprocess.run([sys.executable, path, *words], check=True)
        return
    monkeypatch.setattr(sys, "argv", [str(path), *words])
    monkeypatch.syspath_prepend(path.parent)
    name = path.stem if path.parent == BENCHMARKS else f"benchmark_{path.parent.name}_{path.stem}"
    module = importlib.util.module_from_spec(spec := importlib.util.spec_from_file_location(name, path))
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    try:
        status = module.main()
    except SystemExit as error:
        status = error.code
    assert not status
    assert capfd.readouterr().out or list(tmp_path.iterdir())
