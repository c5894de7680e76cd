"""What can be trained on: pairs in both layouts, scenes without a clear image, several processes."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from affine import Affine
from support import ORIGIN, TINY, write_pixels, write_raster

from cloudfree.errors import InputError
from cloudfree.evaluate.triplets import find
from cloudfree.learn.pairs import Pairs
from cloudfree.learn.sources import SourceOptions, open_sources
from cloudfree.network.models import AlignCR
from cloudfree.network.weights import load_model, save_model
from cloudfree.simulate.landscape import landscape

SIDE = 72
GRID = Affine(3, 0, ORIGIN[0], 0, -3, ORIGIN[1])


@pytest.fixture
def triplets(tmp_path: Path) -> Path:
    """Three places: clear, the same under a bright corner, radar, and the mask of the corner."""
    folder = tmp_path / "triplets"
    folder.mkdir()
    for seed in range(3):
        land = landscape(np.random.default_rng(seed), SIDE, SIDE)
        clear = np.clip(1e4 * land.reflectance, 1, 9000).astype(np.uint16)
        mask = np.zeros((SIDE, SIDE), bool)
        mask[:30, :40] = True
        write_pixels(folder / f"here{seed}_clear.tif", clear)
        write_pixels(folder / f"here{seed}_cloudy.tif", np.where(mask, 9500, clear + 100).astype(np.uint16))
        write_pixels(folder / f"here{seed}_sar.tif", land.sar_db)
        write_pixels(folder / f"here{seed}_mask.tif", mask[None].astype(np.uint8))
    return folder


def draws(source, count: int = 20):
    rng = np.random.default_rng(1)
    return [source.draw(rng) for _ in range(count)]


def test_samples_of_pairs_are_their_pixels(triplets):
    for sample in draws(Pairs(find(triplets), 32)):
        assert sample.cloudy.shape == sample.clear.shape == (4, 32, 32)
        assert sample.known.all()
        np.testing.assert_allclose(sample.cloudy[:, sample.mask], 0.95)
        np.testing.assert_allclose((sample.cloudy - sample.clear)[:, ~sample.mask], 0.01, atol=1e-6)


def test_same_date_leaves_nothing_but_clouds(triplets):
    samples = draws(Pairs(find(triplets), 32, same_date=True))
    far = [sample for sample in samples if not sample.mask.any()]
    assert len(far) < len(samples)
    for sample in samples:
        np.testing.assert_allclose(sample.cloudy[:, sample.mask], 0.95)
        assert (sample.cloudy - sample.clear)[:, ~sample.mask].min() > -1e-6


def test_a_crop_that_does_not_fit(triplets):
    with pytest.raises(InputError, match="less than the crop of 96"):
        draws(Pairs(find(triplets), 96))


def test_lists_in_the_layout_of_m3r_cr(triplets):
    rows = [f"here{i}_clear.tif,here{i}_cloudy.tif,here{i}_sar.tif" for i in range(3)]
    (triplets / "train.csv").write_text("\n".join(rows))
    sources = open_sources(SourceOptions(data=(triplets / "train.csv",), procedural=0, crop=32))
    assert len(sources.training) == 2
    assert len(sources.validation) == 1
    assert not draws(sources.training)[0].mask.any(), "the short form has no mask"


def test_each_source_is_drawn_from(triplets, tmp_path):
    options = SourceOptions(data=(triplets,), procedural=3, crop=32)
    sources = open_sources(options)
    of_pairs = [bool(np.isclose(s.cloudy[:, s.mask], 0.95).all() and s.mask.any()) for s in draws(sources.training, 60)]
    assert 5 < sum(of_pairs) < 50
    with pytest.raises(InputError, match="nothing to train on"):
        open_sources(SourceOptions(procedural=0))
    with pytest.raises(InputError, match="does not exist"):
        open_sources(SourceOptions(data=(tmp_path / "nowhere",)))


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Two scenes with a cloud each and no clear image of either."""
    side = 200
    for name, seed in (("one", 1), ("two", 2)):
        land = landscape(np.random.default_rng(seed), side, side)
        cloud = np.zeros((side, side), bool)
        cloud[:60, :70] = True
        dn = np.where(cloud, 9000, np.clip(land.reflectance * 1e4, 1, 7000)).astype(np.uint16)
        write_raster(tmp_path / f"{name}.tif", dn, GRID, nodata=0)
        write_raster(tmp_path / f"{name}_s1.tif", land.sar_db, GRID, descriptions=("VV", "VH"))
        write_raster(tmp_path / f"{name}_mask.tif", cloud[None].astype(np.uint8), GRID)
    rows = ["planet,sar,mask", *(f"{n}.tif,{n}_s1.tif,{n}_mask.tif" for n in ("one", "two"))]
    path = tmp_path / "scenes.csv"
    path.write_text("\n".join(rows))
    return path


def test_scenes_without_a_clear_image(manifest):
    sources = open_sources(SourceOptions(data=(manifest,), procedural=0, crop=64))
    assert len(sources.training) >= 2
    assert sources.validation is not None
    for sample in draws(sources.training):
        assert sample.clear[:, sample.known].max() < 0.85, "what cloud hides is never the truth"
        assert sample.known.mean() > 0.2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("planet,sar\n", "names no scene"),
        ("planet,sar,clouds\none.tif,one_s1.tif,x", "has a column 'clouds'"),
        ("planet,sar\none.tif,", "line 2 of scenes.csv has no sar"),
        ("planet,sar\nnone.tif,one_s1.tif", "none.tif"),
    ],
)
def test_manifests_that_cannot_be(manifest, text, message):
    manifest.write_text(text)
    with pytest.raises(InputError, match=message):
        open_sources(SourceOptions(data=(manifest,), procedural=0, crop=64))


@pytest.mark.slow
def test_two_processes_learn_what_one_does(tmp_path):
    """Gradients are means over the batch, however it is shared out."""
    start = save_model(AlignCR(TINY), tmp_path / "start.safetensors")
    arguments = ["-m", "cloudfree", "train", "--steps=3", "--procedural=3", "--crop=32", "--batch=2", "--device=cpu"]
    arguments += ["--threads=1", f"--weights={start}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    for target, before in ((one, []), (two, launcher)):
        done = subprocess.run(
            [sys.executable, *before, *arguments, "-o", str(target)],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
        )
        assert done.returncode == 0, done.stderr
    together, alone = load_model(two), load_model(one)
    assert together.weights_info.provenance["processes"] == 2
    before = load_model(start).state_dict()
    moved, apart = (
        torch.cat([(model.state_dict()[name] - reference[name]).flatten() for name in before])
        for model, reference in ((alone, before), (together, alone.state_dict()))
    )
    assert apart.norm() < 0.02 * moved.norm()  # bfloat16 rounds a batch of one otherwise than one of two
