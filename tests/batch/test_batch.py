"""Many scenes: each by itself, nothing made twice, nothing of a user's lost, and every outcome recorded."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import Result
from filelock import FileLock
from safe_support import NAME, SafeRecipe
from support import scene_dn

from cloudfree import batch
from cloudfree.batch import Settings
from cloudfree.inputs.files import identify
from cloudfree.plan import Options
from cloudfree.product import provenance

Cli = Callable[..., Result]
Make = Callable[..., Path]

SIDE = 160
FAST = "--weights", "identity", "--find-clouds", "never", "--edge-limit", 0


@pytest.fixture
def scenes(make_scene: Make, make_sar: Make, make_mask: Make, tmp_path: Path) -> Path:
    """A list of three scenes with one radar image and one mask."""
    cloud = np.zeros((SIDE, SIDE))
    cloud[40:90, 40:90] = 1
    sar, mask = make_sar(), make_mask(cloud)
    names = [make_scene(name=f"scene{n}.tif", dn=scene_dn(SIDE, SIDE, seed=n)).name for n in range(3)]
    lines = [f"{name},{sar.name},{mask.name}" for name in names]
    (tmp_path / "list.csv").write_text("\n".join(["planet,sar,mask", *lines]) + "\n")
    return tmp_path / "list.csv"


def statuses(folder: Path) -> list[str]:
    with (folder / "results.csv").open() as file:
        return [row["status"] for row in csv.DictReader(file)]


def hidden(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.startswith(".")]


def test_every_scene_has_what_a_run_gives(cli: Cli, scenes: Path, tmp_path: Path) -> None:
    out = tmp_path / "made"
    done = cli("batch", scenes, "-o", out, *FAST, "--qa", "--json")
    assert done.exit_code == 0, done.output
    assert [outcome["status"] for outcome in json.loads(done.stdout)] == ["made"] * 3
    assert statuses(out) == ["made"] * 3
    folder = scenes.parent
    alone = tmp_path / "alone.tif"
    files = "--planet", folder / "scene1.tif", "--sar", folder / "s1.tif", "--mask", folder / "mask.tif"
    assert cli("run", *files, "-o", alone, *FAST).exit_code == 0
    with rasterio.open(alone) as one, rasterio.open(out / "scene1_cloudfree.tif") as many:
        np.testing.assert_array_equal(one.read(), many.read())
    assert sorted(path.name for path in out.iterdir()) == sorted(
        [f"scene{n}_cloudfree{end}" for n in range(3) for end in (".tif", "_qa.tif")] + ["results.csv", "results.json"]
    )


@pytest.mark.slow
def test_what_is_made_is_not_made_again_unless_something_changed(cli: Cli, scenes: Path, tmp_path: Path) -> None:
    out = tmp_path / "made"
    batch = "batch", scenes, "-o", out, *FAST
    cli(*batch)
    products = sorted(out.glob("*_cloudfree.tif"))
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in products}
    assert cli(*batch).exit_code == 0
    assert statuses(out) == ["skipped"] * 3
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in products} == before
    products[0].unlink()
    damaged = bytearray(products[1].read_bytes())
    damaged[len(damaged) // 2 :] = b""
    products[1].write_bytes(damaged)
    assert cli(*batch).exit_code == 0
    assert statuses(out) == ["made", "made", "skipped"]
    assert cli(*batch, "--buffer", 60).exit_code == 0
    assert statuses(out) == ["made"] * 3
    with rasterio.open(scenes.parent / "scene2.tif", "r+") as scene:
        scene.write(scene_dn(SIDE, SIDE, seed=9))
    assert cli(*batch, "--buffer", 60).exit_code == 0
    assert statuses(out) == ["skipped", "skipped", "made"]


def test_a_bad_scene_costs_no_other(cli: Cli, scenes: Path, tmp_path: Path) -> None:
    (scenes.parent / "scene1.tif").write_bytes(b"no raster at all")
    out = tmp_path / "made"
    done = cli("batch", scenes, "-o", out, *FAST)
    assert done.exit_code == 1
    assert "1 of 3 scenes have no product" in done.stderr
    assert "ERROR: scene1.tif: " in done.stderr
    assert statuses(out) == ["made", "failed", "made"]
    outcome = json.loads((out / "results.json").read_text())[1]
    assert "cannot be read as a raster" in outcome["error"]
    assert not (out / "scene1_cloudfree.tif").exists()
    assert cli("batch", scenes, "-o", tmp_path / "few", *FAST, "--max-failures", 0).exit_code == 1
    assert statuses(tmp_path / "few") == ["made", "failed", "not begun"]


def test_a_file_that_is_not_ours_is_kept(cli: Cli, scenes: Path, tmp_path: Path) -> None:
    out = tmp_path / "made"
    out.mkdir()
    precious = out / "scene0_cloudfree.tif"
    precious.write_text("precious")
    assert cli("batch", scenes, "-o", out, *FAST).exit_code == 1
    assert precious.read_text() == "precious"
    assert statuses(out) == ["failed", "made", "made"]
    assert cli("batch", scenes, "-o", out, *FAST, "--overwrite").exit_code == 0
    with rasterio.open(precious) as dataset:
        assert dataset.count == 4


def test_pictures_and_side_products_that_are_not_ours_are_kept(cli: Cli, scenes: Path, tmp_path: Path) -> None:
    out = tmp_path / "made"
    out.mkdir()
    mine = [out / "scene0_cloudfree.png", out / "scene1_cloudfree_mask.tif"]
    for path in mine:
        path.write_text("precious")
    batch = "batch", scenes, "-o", out, *FAST, "--quicklook", "--write-mask"
    assert cli(*batch).exit_code == 1
    assert [path.read_text() for path in mine] == ["precious"] * 2
    assert statuses(out) == ["failed", "failed", "made"]
    cli(*batch, "--overwrite")
    assert statuses(out) == ["made", "made", "skipped"]
    assert cli(*batch, "--buffer", 60).exit_code == 0, "ours are made anew"


@pytest.mark.slow
def test_a_picture_of_an_older_product_is_made_anew(cli: Cli, scenes: Path, tmp_path: Path) -> None:
    batch = "batch", scenes, "-o", tmp_path / "made", *FAST
    cli(*batch, "--quicklook")
    assert cli(*batch, "--quicklook").exit_code == 0
    assert statuses(tmp_path / "made") == ["skipped"] * 3
    cli(*batch, "--buffer", 60)
    cli(*batch, "--buffer", 60, "--quicklook")
    assert statuses(tmp_path / "made") == ["made"] * 3


def test_json_is_one_document_and_its_log_too_where_scenes_fail(cli: Cli, scenes: Path, tmp_path: Path) -> None:
    (scenes.parent / "scene1.tif").write_bytes(b"no raster at all")
    done = cli("batch", scenes, "-o", tmp_path / "made", *FAST, "--json", "--log-format", "json")
    assert done.exit_code == 1
    assert [outcome["status"] for outcome in json.loads(done.stdout)] == ["made", "failed", "made"]
    assert [json.loads(line)["level"] for line in done.stderr.splitlines()] == ["ERROR", "ERROR"]


def test_a_folder_that_cannot_be_is_one_line(cli: Cli, scenes: Path, tmp_path: Path) -> None:
    (tmp_path / "made").write_text("a file")
    done = cli("batch", scenes, "-o", tmp_path / "made", *FAST)
    assert done.exit_code == 1
    assert "made cannot be written" in done.stderr
    assert (tmp_path / "made").read_text() == "a file"


def test_what_decides_a_product_is_in_its_identity(scenes: Path, make_scene: Make, tmp_path: Path) -> None:
    """An area by its content, metadata beside references; not the place of weights."""
    folder, area = scenes.parent, tmp_path / "area.geojson"
    reference = make_scene(name="20240606_101530_84_2481_3B_AnalyticMS.tif", dn=scene_dn(SIDE, SIDE))
    files = {"planet": folder / "scene0.tif", "sar": folder / "s1.tif", "output": tmp_path / "o.tif"}
    options = Options.of(**files, references=[reference], aoi=area)

    def identity(options: Options) -> str:
        return provenance.identity(asdict(options), identify(options).deciding(options, options.aoi), "0")

    identities = []
    for text in ("{}", '{"type": "Point"}'):
        area.write_text(text)
        identities.append(identity(options))
    reference.with_name(f"{reference.stem}_metadata.xml").write_text("<a/>")
    identities.append(identity(options))
    assert len(set(identities)) == 3
    assert identity(replace(options, weights="/home/me/weights.safetensors", overwrite=True)) == identities[-1]
    assert "/home/me" not in str(provenance.tags({"weights": "/home/me/w.safetensors"}, [], ()))


def test_headers_and_side_files_are_in_the_identity(scenes: Path, tmp_path: Path) -> None:
    folder = scenes.parent
    files = {"planet": folder / "scene0.tif", "sar": folder / "s1.tif", "output": tmp_path / "o.tif"}
    options = Options.of(**files)

    def identity(**versions: str) -> str:
        return provenance.identity(asdict(options), identify(options).deciding(options, options.aoi), "0", **versions)

    before = identity()
    side = folder / "s1.tif.aux.xml"
    side.write_text('<PAMDataset><PAMRasterBand band="1"><NoDataValue>-30</NoDataValue></PAMRasterBand></PAMDataset>')
    after = identity()
    statistics = '<Metadata><MDI key="STATISTICS_MAXIMUM">-3</MDI></Metadata><Histograms><HistItem/></Histograms>'
    side.write_text(f'<PAMDataset><PAMRasterBand band="1">{statistics}</PAMRasterBand></PAMDataset>')
    assert identity() == before, "as a viewer writes them"
    side.unlink()
    assert identity() == before != after
    assert identity(csmask="2.0") != before


def test_lists_may_be_lines_of_json_with_names_and_lists(cli: Cli, scenes: Path, tmp_path: Path) -> None:
    lines = [{"planet": "scene0.tif", "sar": ["s1.tif"], "mask": "mask.tif", "output": "deep/er.tif"}]
    listed = scenes.with_suffix(".jsonl")
    listed.write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    assert cli("batch", listed, "-o", tmp_path / "made", *FAST).exit_code == 0
    assert (tmp_path / "made/deep/er.tif").is_file()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no scene"),
        ("planet,radar\na.tif,b.tif\n", "has 'radar'"),
        ("planet,sar\na.tif,\n", "has no sar"),
        ("planet,sar\na.tif;b.tif,c.tif\n", "names 2 files as planet"),
        ("planet,sar\na.tif,b.tif\nx/a.tif,b.tif\n", "would be the product of 2 scenes"),
        ("planet,sar\na.tif,b.tif,c\n", "more cells than columns"),
        ("planet,sar\n ; ,b.tif\n", "has no planet"),
        ("planet,sar,output\na.tif,b.tif,x.tif\nc.tif,d.tif,x_qa.tif\n", "x_qa.tif would be the product of 2"),
        ("planet,sar,output\na.tif,b.tif,../d.tif\nc.tif,d.tif,x.tif\n", "d.tif would be a product and is an input"),
        ("planet,sar\n\xff\xfe,b\n", "cannot be read as a CSV"),
    ],
)
def test_lists_that_say_nothing_clear_are_refused(cli: Cli, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "list.csv").write_bytes(text.encode("latin-1"))
    done = cli("batch", tmp_path / "list.csv", "-o", tmp_path / "made", *FAST, "--qa")
    assert done.exit_code == 1
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "made").exists()


def test_too_little_disk_is_told_before(
    cli: Cli, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    done = cli("batch", scenes, "-o", tmp_path / "made", *FAST)
    assert done.exit_code == 1
    assert "GB free" in done.stderr
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("workers", [(), ("--workers", 3)])
def test_too_little_memory_is_told_before(
    cli: Cli, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: tuple[object, ...]
) -> None:
    monkeypatch.setattr("cloudfree.product.needs.available_memory_gb", lambda: 0.6)
    done = cli("batch", scenes, "-o", tmp_path / "made", *FAST, *workers)
    assert done.exit_code == 1
    assert "GB of memory" in done.stderr
    assert ("by 3 workers at once" in done.stderr) == bool(workers)
    assert not (tmp_path / "made").exists()
    monkeypatch.setattr("cloudfree.product.needs.available_memory_gb", lambda: None)
    plan = json.loads(cli("batch", scenes, "-o", tmp_path / "made", *FAST, *workers, "--dry-run").stdout)
    assert plan["memory_gb"] > 0.6


# --- folders ---


@pytest.fixture
def folder(make_scene: Make, make_sar: Make, make_mask: Make, tmp_path: Path) -> Path:
    """Two dates of one place and three passes of radar, one of which sees half of it, in a folder with other things."""
    inside = tmp_path / "in"
    inside.mkdir()
    for day, clear in (("20240606", 0.5), ("20240615", 0.9)):
        make_scene(name=f"in/{day}_101530_84_2481_3B_AnalyticMS_SR.tif", dn=scene_dn(SIDE, SIDE))
        bands = np.zeros((8, SIDE, SIDE))
        bands[0, : int(clear * SIDE)] = 1
        make_mask(bands, name=f"in/{day}_101530_84_2481_3B_udm2.tif")
    make_sar(name="in/s1_20240601.tif")
    make_sar(name="in/s1_20240614.tif")
    make_sar(124, name="in/s1_20240615.tif")
    (inside / "notes.txt").write_text("what I saw")
    (inside / "s1_broken.tif").write_bytes(b"II*\0")
    return inside


def test_scenes_of_a_folder_have_the_radar_and_the_dates_that_suit_them(cli: Cli, folder: Path, tmp_path: Path) -> None:
    done = cli("batch", folder, "-o", tmp_path / "made", *FAST, "--reference-days", 10, "--dry-run")
    assert done.exit_code == 0, done.output
    first, second = json.loads(done.stdout)["jobs"]
    assert [Path(path).name for path in first["sar"]] == ["s1_20240601.tif"]
    assert [Path(path).name for path in second["sar"]] == ["s1_20240614.tif"], "a day nearer, but half of it"
    assert [Path(path).name[:8] for path in first["references"]] == ["20240615"]
    assert any("1.0 days away" in why for why in second["why"])
    assert "s1_broken.tif" in done.stderr
    assert not (tmp_path / "made").exists()
    near = cli("batch", folder, "-o", tmp_path / "made", *FAST, "--reference-days", 5, "--dry-run")
    assert not any(job["references"] for job in json.loads(near.stdout)["jobs"])


@pytest.mark.parametrize(
    ("zipped", "place"), [("{}.zip", "{}.SAFE"), ("{}.SAFE.zip", "{}.SAFE"), ("{}.zip", "{}/{}.SAFE")]
)
def test_radar_that_lies_there_zipped_and_unpacked_is_taken_once(
    cli: Cli, folder: Path, tmp_path: Path, zipped: str, place: str
) -> None:
    name = NAME.removesuffix(".SAFE")
    for path in folder.glob("s1_*.tif"):
        path.unlink()
    SafeRecipe().write(tmp_path / "made_once", zipped=True).rename(folder / zipped.format(name))
    unpacked = folder / place.format(name, name)
    unpacked.parent.mkdir(exist_ok=True)
    SafeRecipe().write(unpacked.parent)
    done = cli("batch", folder, "-o", tmp_path / "made", *FAST, "--dry-run")
    assert done.exit_code == 0, done.output
    for job in json.loads(done.stdout)["jobs"]:
        assert job["sar"] == [str(unpacked)]


def test_a_folder_whose_radar_sees_no_scene_is_refused(cli: Cli, make_scene: Make, make_sar: Make, tmp_path: Path):
    (tmp_path / "in").mkdir()
    make_scene(name="in/20240606_101530_84_2481_3B_AnalyticMS_SR.tif")
    make_sar(name="in/s1_20240601.tif", transform=Affine(10, 0, 700_000, 0, -10, 5_000_000))
    done = cli("batch", tmp_path / "in", "-o", tmp_path / "made", *FAST)
    assert done.exit_code == 1
    assert "overlaps a scene" in done.stderr


def test_a_folder_without_scenes_or_radar_is_refused(cli: Cli, folder: Path, tmp_path: Path) -> None:
    for pattern in ("s1_*.tif", "*_SR.tif"):
        for path in folder.glob(pattern):
            path.unlink()
        done = cli("batch", folder, "-o", tmp_path / "made", *FAST)
        assert done.exit_code == 1
        assert "holds no" in done.stderr


# --- several at once, and what becomes of those that die ---


def start(scenes: Path, out: Path, *options: object) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "cloudfree", "batch", scenes, "-o", out, *FAST, *options]
    return subprocess.Popen(list(map(str, words)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def test_a_target_that_another_run_makes_is_waited_for_or_refused(cli: Cli, scenes: Path, tmp_path: Path) -> None:
    out = tmp_path / "made"
    busy = out / ".cloudfree-scene0_cloudfree.tif"
    busy.mkdir(parents=True)
    with FileLock(busy / "lock"):
        assert cli("batch", scenes, "-o", out, *FAST).exit_code == 1
        assert statuses(out) == ["failed", "made", "made"]
        assert "being made by another run" in (out / "results.csv").read_text()
        assert busy.exists(), "another's"
    assert cli("batch", scenes, "-o", out, *FAST).exit_code == 0
    assert not hidden(out)


@pytest.mark.slow
def test_runs_that_are_killed_leave_nothing_that_the_next_does_not_mend(cli: Cli, scenes: Path, tmp_path: Path) -> None:
    calm, out, rng = tmp_path / "calm", tmp_path / "made", random.Random(5)
    assert cli("batch", scenes, "-o", calm, *FAST).exit_code == 0
    for kind in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
        process = start(scenes, out)
        time.sleep(rng.uniform(1.5, 5))
        os.kill(process.pid, kind)
        process.communicate(timeout=60)
        if kind == signal.SIGTERM:
            assert not hidden(out)
    assert cli("batch", scenes, "-o", out, *FAST).exit_code == 0
    assert not hidden(out)
    for path in calm.glob("*.tif"):
        assert (out / path.name).read_bytes() == path.read_bytes()


@pytest.mark.slow
def test_three_at_once_on_one_folder_make_each_product_once(scenes: Path, tmp_path: Path) -> None:
    out = tmp_path / "made"
    runs = [start(scenes, out, "--wait", 120) for _ in range(3)]
    for process in runs:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    assert not hidden(out)
    for n in range(3):
        with rasterio.open(out / f"scene{n}_cloudfree.tif") as dataset:
            assert dataset.read().any()


@pytest.mark.attack(11)
def test_results_of_a_batch_that_was_killed_are_swept(cli: Cli, scenes: Path, tmp_path: Path) -> None:
    out = tmp_path / "made"
    code = """
import os, sys
from pathlib import Path
from cloudfree.batch.results import replaced
with replaced(Path(sys.argv[1]) / "results.csv") as new:
    new.write_text("half")
    os.kill(os.getpid(), 9)
"""
    out.mkdir()
    subprocess.run([sys.executable, "-c", code, out], check=False)
    assert hidden(out)
    assert cli("batch", scenes, "-o", out, *FAST).exit_code == 0
    assert statuses(out) == ["made"] * 3
    assert not hidden(out)


@pytest.mark.attack(4)
@pytest.mark.parametrize("short_of", ["disk", "memory"])
def test_a_scene_of_very_many_pixels_fails_alone(
    scenes: Path, tmp_path: Path, short_of: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    free, memory_gb = (10**11, 10**6) if short_of == "disk" else (10**15, 5.0)
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": free})())
    monkeypatch.setattr("cloudfree.product.needs.available_memory_gb", lambda: memory_gb)
    with rasterio.open(tmp_path / "scene0.tif") as dataset:
        place = {"crs": dataset.crs, "transform": dataset.transform, "nodata": 0, "dtype": "uint16", "count": 4}
    tiles = {"tiled": True, "blockxsize": 8192, "blockysize": 8192, "SPARSE_OK": "TRUE", "BIGTIFF": "YES"}
    with rasterio.open(tmp_path / "scene0.tif", "w", "GTiff", 140_000, 140_000, **place, **tiles):
        pass
    settings = Settings({"weights": "identity", "find_clouds": "never", "edge_limit_m": 0.0})
    outcomes = batch.run(scenes, tmp_path / "made", settings)
    assert [outcome.status for outcome in outcomes] == ["failed", "made", "made"]
    assert "GB" in outcomes[0].error
