"""`cloudfree samples` and its files: equal whoever makes them, resumed, held out by place and by cloud, or one line."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from support import pattern, sar_values_db, write_pixels

from cloudfree.errors import InputError, OutputError
from cloudfree.learn import make_samples as making
from cloudfree.learn import sample_files, seen_samples
from cloudfree.learn.lifted_layers import RealLayer
from cloudfree.learn.make_samples import SamplesOptions, make_samples
from cloudfree.learn.sample_files import SampleFiles, read_header
from cloudfree.learn.sample_grounds import read_grounds
from cloudfree.reconstruct.lifted import LiftedClouds
from cloudfree.scene.model import fit_fine

SIDE = 48


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Six places, the first on three dates."""
    folder = tmp_path / "pairs"
    folder.mkdir()
    for name, seed in [("a_00", 0), ("a_01", 0), ("a_02", 0), *((site, ord(site)) for site in "bcdef")]:
        ground = 1500 + 300 * pattern(SIDE, SIDE, seed, 2.0)
        write_pixels(folder / f"{name}_optical.tif", np.stack([ground + 200 * b for b in range(4)]).astype(np.uint16))
        write_pixels(folder / f"{name}_sar.tif", sar_values_db(SIDE, SIDE, seed))
    return folder


@pytest.fixture
def options(pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SamplesOptions:
    monkeypatch.setattr(making, "_A_FILE", 4)
    monkeypatch.setattr(seen_samples, "fit_fine", partial(fit_fine, by_holes=False))
    return SamplesOptions(folder=tmp_path / "samples", data=(pairs,), count=10, workers=0)


def into(options: SamplesOptions, folder: Path, **changes: object) -> SamplesOptions:
    values = {name: getattr(options, name) for name in ("data", "clouds", "texture", "count", "seed", "workers")}
    return SamplesOptions(folder=folder, **{**values, **changes})


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_samples_are_equal_whoever_makes_them(options: SamplesOptions, tmp_path: Path) -> None:
    alone = contents(make_samples(options))
    assert sorted(alone) == [*(f"train_0000{i}.safetensors" for i in range(3)), "validation_00000.safetensors"]
    assert contents(make_samples(into(options, tmp_path / "two", workers=2))) == alone
    assert contents(make_samples(into(options, tmp_path / "other", seed=1))) != alone


def test_a_killed_run_goes_on(options: SamplesOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, write, written = contents(make_samples(into(options, tmp_path / "whole"))), sample_files.write, list[str]()

    def write_and_die(path: Path, *rest: object) -> None:
        write(path, *rest)
        written.append(path.name)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sample_files, "write", write_and_die)
        with pytest.raises(KeyboardInterrupt):
            make_samples(options)
    made = list[float]()
    first = (options.folder / written[0]).stat().st_mtime_ns
    assert contents(make_samples(options, made.append)) == whole
    assert (options.folder / written[0]).stat().st_mtime_ns == first, "what was there is not made again"
    assert made == [4, 4, 2, 1]


def test_more_samples_can_be_had_later(options: SamplesOptions, tmp_path: Path) -> None:
    make_samples(options)
    more = into(options, options.folder, count=14)
    assert contents(make_samples(more)) == contents(make_samples(into(more, tmp_path / "at_once")))
    assert len(SampleFiles(options.folder, "train")) == 14


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="workers are forks, and end with their parent, on Linux")
@pytest.mark.parametrize(("sent", "status"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143)])
def test_workers_end_with_the_command(pairs: Path, tmp_path: Path, sent: signal.Signals, status: int) -> None:
    words = [sys.executable, "-m", "cloudfree", "samples", "-o", "out", "--data", str(pairs), "--count", "9999"]
    command = subprocess.Popen([*words, "--workers", "2"], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    children = Path(f"/proc/{command.pid}/task/{command.pid}/children")
    while len(workers := children.read_text().split()) < 2:
        assert command.poll() is None
        time.sleep(0.2)
    time.sleep(1)
    os.kill(command.pid, sent)
    _, error = command.communicate(timeout=30)
    assert command.returncode == status
    assert "Traceback" not in error
    time.sleep(1)
    alive = [Path(f"/proc/{worker}/stat") for worker in workers]
    assert not [path for path in alive if path.exists() and path.read_text().rpartition(")")[2].split()[0] != "Z"]


def sites_of(groups: list) -> set[str]:
    return {place.site for group in groups for series in group for place in series}


def test_every_fifth_site_of_each_kind_of_ground_is_held_out(pairs: Path, tmp_path: Path) -> None:
    texture, clouds = tmp_path / "texture", tmp_path / "clouds"
    for folder in (texture, clouds):
        folder.mkdir()
    rng = np.random.default_rng(0)
    for town in ("t", "u"):
        for number in range(9):
            write_pixels(texture / f"{town}_{number}.tif", rng.integers(0, 255, (4, 32, 32)).astype(np.uint8))
    for name, brightness in (("p_1", 900), ("p_2", 900), ("q_1", 900), ("r_1", 6000)):
        write_pixels(clouds / f"{name}_clear.tif", rng.normal(brightness, 50, (4, 32, 32)).astype(np.uint16))
    training, validation = read_grounds((pairs,), clouds, (texture,))
    assert [len(group) for group in training] == [5, 2, 2], "of nine small images two squares, bright ones are clouds"
    assert sites_of(validation) == {"e", "q", "u"}
    assert not sites_of(training) & sites_of(validation)
    assert [len(series) for series in training[0]] == [3, 1, 1, 1, 1], "dates of one place in order"
    assert training[2][0][0].reflectance.shape == (4, 64, 64)


def test_a_town_is_one_site_in_every_year(tmp_path: Path) -> None:
    """Or ground would be held out that another flight shows."""
    for town in ("t_2016", "t_2018", "u_2016", "u_2018"):
        for number in range(4):
            brightness = 100 if town.endswith("2016") else 200
            write_pixels(tmp_path / f"{town}_{number}.tif", np.full((4, 32, 32), brightness, np.uint8))
    training, validation = read_grounds((), None, (tmp_path,))
    assert (sites_of(training), sites_of(validation)) == ({"t"}, {"u"})
    for (place,) in training[0]:
        assert np.ptp(place.reflectance) == 0, "a square is of one flight"


def test_layers_of_clouds_are_held_out_too(
    options: SamplesOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = LiftedClouds(np.zeros((4, 8, 8), np.float32), np.ones((4, 8, 8), np.float32))
    layers, drawn_from = [RealLayer(site, nothing) for site in "aabcde"], list[set[str]]()
    drawer = making.clouds_drawer

    def spy(some: list[RealLayer]) -> object:
        drawn_from.append({layer.site for layer in some})
        return drawer([])

    monkeypatch.setattr(making, "read_lifted_layers", lambda *_: layers)
    monkeypatch.setattr(making, "clouds_drawer", spy)
    (tmp_path / "clouds").mkdir()
    make_samples(into(options, options.folder, clouds=tmp_path / "clouds", count=1))
    assert drawn_from == [set("abcd"), {"e"}]


def test_validation_samples_are_of_held_out_ground(options: SamplesOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what they show: every place has a brightness of its own, in light that does not change."""
    monkeypatch.setattr("cloudfree.learn.augment.colour_jitter", lambda rng, reflectance, sar_db: (reflectance, sar_db))
    for path in options.data[0].glob("*_optical.tif"):
        ground = 1000 + 1000 * "abcdef".index(path.name[0]) + 20 * pattern(SIDE, SIDE, 1)
        ground[:4] = 200  # so that nothing is taken for path radiance
        write_pixels(path, np.stack([ground] * 4).astype(np.uint16))
    folder = make_samples(into(options, options.folder, count=30))
    seen = {}
    for part in ("train", "validation"):
        files, rng = SampleFiles(folder, part), np.random.default_rng(0)
        truths = [np.median((s := files.draw(rng)).truth[:, s.known]) for _ in range(30)]
        seen[part] = {round((float(value) - 0.1) * 10) for value in truths}
    assert seen["validation"] == {4}
    assert 4 not in seen["train"]


def test_crops_are_varied_and_hide_something(options: SamplesOptions) -> None:
    files = SampleFiles(make_samples(options), "train", crop=32)
    assert len(files) == 10
    for seed in range(20):
        one, other = (files.draw(np.random.default_rng(seed)) for _ in range(2))
        np.testing.assert_array_equal(one.observed, other.observed)
        assert one.truth.shape == (4, 32, 32)
        assert one.truth.dtype == np.float32
        assert one.counted.mean() > 0.05, "what lies beyond a small place is never counted"


def test_files_hold_what_was_made(options: SamplesOptions) -> None:
    path = sample_files.path_of(make_samples(options), "train", 0)
    assert read_header(path) == (4, "cloudfree samples --data pairs --seed 0")
    sample = SampleFiles(options.folder, "train").draw(np.random.default_rng(0))
    assert sample.known[:SIDE, :SIDE].all()
    assert not sample.known[SIDE:].any()
    assert not sample.known[:, SIDE:].any()
    off = np.abs(sample.observed - sample.truth).mean(axis=0)
    clear = ~sample.hidden & sample.known
    assert (off[clear] == 0).sum() >= clear.sum() / 2
    assert off[sample.counted].mean() > 0.01


def test_what_cannot_be_is_one_line(options: SamplesOptions, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"no folder; one with clear pairs, or a CSV of scenes is needed: check --data"
    ):
        make_samples(into(options, options.folder, data=(tmp_path / "nowhere",)))
    with pytest.raises(InputError, match="no folder; one with aerial images"):
        make_samples(into(options, options.folder, texture=(tmp_path / "nowhere",)))
    with pytest.raises(InputError, match="no folder; one with images with clouds"):
        make_samples(into(options, options.folder, clouds=tmp_path / "nowhere"))
    with pytest.raises(InputError, match="there is no ground"):
        make_samples(into(options, options.folder, data=()))
    with pytest.raises(InputError, match="holds too few aerial images"):
        make_samples(into(options, options.folder, texture=(options.folder,)))
    with pytest.raises(OutputError, match="cannot be made"):
        make_samples(into(options, tmp_path / "no" / "where"))
    make_samples(options)
    with pytest.raises(InputError, match="has samples of other options"):
        make_samples(into(options, options.folder, seed=3))
    with pytest.raises(InputError, match="--crop is 256; samples have 128"):
        SampleFiles(options.folder, "train", 256)
    with pytest.raises(InputError, match=r"holds no train_\*.safetensors"):
        SampleFiles(tmp_path, "train")
    sample_files.path_of(options.folder, "train", 1).write_bytes(b"something else")
    for use in (partial(make_samples, options), partial(SampleFiles, options.folder, "train")):
        with pytest.raises(InputError, match="is damaged, or no file of samples"):
            use()


def test_scenes_without_a_clear_window(
    make_scene: Callable[..., Path], make_sar: Callable[..., Path], cli: Callable[..., Result], tmp_path: Path
) -> None:
    make_scene(40, 40)
    make_sar()
    (tmp_path / "scenes.csv").write_text("planet,sar\nscene.tif,s1.tif\n")
    done = cli("samples", "-o", tmp_path / "samples", "--data", tmp_path / "scenes.csv", "--count", 1)
    assert done.exit_code == 1
    assert "has a window of 96 pixels a side that is clear enough to learn from; add larger" in done.output
    assert "--crop" not in done.output, "which `samples` does not have"


@pytest.mark.parametrize("workers", [0, 1])
def test_ground_of_which_nothing_can_be_made(
    options: SamplesOptions, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every pixel without data; one line whoever finds it."""
    monkeypatch.setattr(making, "_MOST_BARREN", 2)
    for path in options.data[0].glob("*_optical.tif"):
        write_pixels(path, np.zeros((4, SIDE, SIDE), np.uint16))
    with pytest.raises(InputError, match="2 places in a row were too small or too cloudy"):
        make_samples(into(options, options.folder, workers=workers))


def test_one_site_alone_leaves_nothing_to_validate_on(
    options: SamplesOptions, caplog: pytest.LogCaptureFixture
) -> None:
    for path in options.data[0].glob("[b-f]_*"):
        path.unlink()
    folder = make_samples(into(options, options.folder, count=1))
    assert list(contents(folder)) == ["train_00000.safetensors"]
    assert "no sample to validate on" in caplog.text


def test_the_command_makes_them(options: SamplesOptions, cli: Callable[..., Result]) -> None:
    done = cli("samples", "-o", options.folder, "--data", options.data[0], "--count", 1, "--workers", 0)
    assert done.exit_code == 0, done.output
    assert len(SampleFiles(options.folder, "train")) == 1
    refused = cli("samples", "-o", options.folder, "--data", options.folder, "--count", 1)
    assert refused.exit_code == 1
    assert "other options" in refused.output
