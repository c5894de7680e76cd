"""Other dates of a folder: which of them help a scene, that they are told and bounded, and what a new one changes."""

import csv
import json
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import Result
from rasterio.crs import CRS
from support import ORIGIN, pattern, scene_dn, write_raster

from cloudfree.bands import Qa
from cloudfree.batch import dates
from cloudfree.batch.images import Image
from cloudfree.batch.needs import check_memory
from cloudfree.batch.pairing import jobs_of_folder
from cloudfree.geometry import Grid
from cloudfree.inputs.acquisition import Acquisition
from cloudfree.inputs.location.source import Source
from cloudfree.inputs.raster import access

Cli = Callable[..., Result]
Make = Callable[..., Path]

SIDE = 120
DAY = date(2024, 6, 15)
GRID_3M = Affine(3, 0, ORIGIN[0], 0, -3, ORIGIN[1])
FAST = "--weights", "identity", "--edge-limit", 0
ALLOWED = "--without-radar", "allow"


@pytest.fixture
def add(tmp_path: Path) -> Callable[..., Path]:
    """Add a scene to the folder `in`, so many days from the middle of June, clear but for its top rows."""

    def write(
        days: int,
        clear: float | None = 1.0,
        *,
        kind: str = "AnalyticMS_SR",
        east_m: float = 0.0,
        time: str = "101530",
        seed: int = 0,
    ) -> Path:
        (tmp_path / "in").mkdir(exist_ok=True)
        name = f"in/{DAY + timedelta(days=days):%Y%m%d}_{time}_84_2481_3B"
        place = Affine.translation(east_m, 0) @ GRID_3M
        dn = np.clip(scene_dn(SIDE, SIDE) + 300 * pattern(SIDE, SIDE, 3, 2.0) + 20 * seed, 200, 6000).astype(np.uint16)
        if clear is not None:
            cloud = np.arange(SIDE)[:, None] >= round(clear * SIDE)
            bands = np.broadcast_to(np.where(cloud, 0, 1), (8, SIDE, SIDE)).copy().astype(np.uint8)
            bands[1:], bands[5] = 0, 1 - bands[0]
            dn = np.where(cloud, 9000, dn).astype(np.uint16)
            write_raster(tmp_path / f"{name}_udm2.tif", bands, place)
        return write_raster(tmp_path / f"{name}_{kind}.tif", dn, place, nodata=0)

    return write


def chosen(folder: Path, scene: Path, **rule: float) -> list[int]:
    """The days of the other dates of a scene, in the order of its job."""
    jobs = jobs_of_folder(folder, folder / "made", without_radar="allow", **rule)  # type: ignore[arg-type]
    (job,) = (job for job in jobs if job.planet == Source.of(scene))
    return [(date.fromisoformat(f"{p.name[:4]}-{p.name[4:6]}-{p.name[6:8]}") - DAY).days for p in job.references]


def test_half_are_the_best_before_and_half_the_best_after(add: Make, tmp_path: Path) -> None:
    scene = add(0, 0.5)
    for days in (-3, -5, -8, -12, -50, 10, 20):
        add(days)
    assert chosen(tmp_path / "in", scene) == [-12, -8, -5, -3, 10, 20]
    assert chosen(tmp_path / "in", scene, max_references=4) == [-5, -3, 10, 20]
    assert chosen(tmp_path / "in", scene, max_references=1) == [-3]
    assert chosen(tmp_path / "in", scene, max_references=0) == []
    assert chosen(tmp_path / "in", scene, reference_days=9.0) == [-8, -5, -3]


def test_clear_share_and_nearness_are_weighed(add: Make, tmp_path: Path) -> None:
    """A date 20 days older must show twice as much; one of which nobody knows comes last; one all cloud not at all."""
    scene = add(0, 0.5)
    for days, clear in ((-2, 0.4), (-21, 0.9), (-22, 0.7), (-1, None), (-3, 0.0), (-70, 1.0)):
        add(days, clear)
    folder = tmp_path / "in"
    assert chosen(folder, scene, max_references=1) == [-21]
    assert chosen(folder, scene, max_references=2) == [-21, -2]
    assert chosen(folder, scene, max_references=3) == [-22, -21, -2]
    assert chosen(folder, scene) == [-22, -21, -2, -1]


def test_neither_itself_nor_its_day_nor_other_ground_nor_a_date_twice(add: Make, tmp_path: Path) -> None:
    scene = add(0, 0.5)
    add(0, kind="AnalyticMS_SR_8b")  # the same scene in another form
    add(0, time="104530")  # the same day, half an hour later
    add(-4)
    add(-4, kind="AnalyticMS_SR_8b")
    add(-2, east_m=3.0 * SIDE)  # beside it
    add(-6, east_m=1.5 * SIDE)  # half of it
    assert chosen(tmp_path / "in", scene) == [-6, -4]
    assert dates.MOST_REFERENCES == 6


def test_each_file_is_opened_once(add: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outlines and clear shares are read once a scene, whoever asks for them."""
    for days in range(0, 40, 4):
        add(days)
    opened, raster = list[str](), access.Raster

    def counted(source: Source) -> access.Raster:
        opened.append(source.name)
        return raster(source)

    monkeypatch.setattr(access, "Raster", counted)
    jobs = jobs_of_folder(tmp_path / "in", tmp_path / "made", without_radar="allow")
    assert all(job.references for job in jobs)
    assert len(opened) == len(set(opened)) == 20


def test_they_are_told_and_used(cli: Cli, add: Make, tmp_path: Path) -> None:
    scene, out = add(0, 0.6), tmp_path / "made"
    add(-5, seed=1)
    add(4, seed=2)
    batch = "batch", tmp_path / "in", "-o", out, *ALLOWED, "--edge-limit", 0
    planned = cli(*batch, "--dry-run", "-v")
    job = next(job for job in json.loads(planned.stdout)["jobs"] if job["planet"] == str(scene))
    assert [Path(path).name[:8] for path in job["references"]] == ["20240610", "20240619"]
    assert job["references_rule"] == "the clearest and nearest, at most 6 within 60 days"
    told = "reference 20240610_101530_84_2481_3B_AnalyticMS_SR.tif shows 100 % of it clear, 5.0 days before"
    assert told in job["why"]
    assert f"{scene.name}: {told}" in planned.stderr
    assert "4.0 days after" in job["why"][-1]
    done = cli(*batch, "--qa")
    assert done.exit_code == 0, done.output
    with (out / "results.csv").open() as file:
        row = next(row for row in csv.DictReader(file) if row["planet"] == str(scene))
    assert [Path(path).name[:8] for path in row["references"].split(";")] == ["20240610", "20240619"]
    with rasterio.open(out / f"{scene.stem}_cloudfree.tif") as product:
        made, stated = product.read(), product.tags()
    assert [image["acquired"] for image in json.loads(stated["CLOUDFREE_REFERENCES"])] == ["2024-06-10", "2024-06-19"]
    with rasterio.open(out / f"{scene.stem}_cloudfree_qa.tif") as quality:
        hidden = quality.read(1) == Qa.RECONSTRUCTED_WITHOUT_SAR
    assert hidden[80:].all()
    truth = np.clip(scene_dn(SIDE, SIDE) + 300 * pattern(SIDE, SIDE, 3, 2.0), 200, 6000)
    assert np.sqrt(np.square(made.astype(float) - truth)[:, 90:].mean()) < 60, "of detail that varies by 300"


def test_a_new_date_makes_no_finished_product_again_unless_told(cli: Cli, add: Make, tmp_path: Path) -> None:
    out, scene = tmp_path / "made", add(0, 0.6)
    add(-5)
    batch = "batch", tmp_path / "in", "-o", out, *ALLOWED, *FAST, "--stac", "--qa"

    def statuses(*options: object) -> dict[str, str]:
        assert cli(*batch, *options).exit_code == 0
        with (out / "results.csv").open() as file:
            return {Path(row["planet"]).name[:8]: row["status"] for row in csv.DictReader(file)}

    assert statuses() == {"20240610": "made", "20240615": "made"}
    assert statuses() == {"20240610": "skipped", "20240615": "skipped"}
    late = add(3)
    assert statuses() == {"20240610": "skipped", "20240615": "skipped", "20240618": "made"}
    with rasterio.open(out / f"{scene.stem}_cloudfree.tif") as product:
        assert len(json.loads(product.tags()["CLOUDFREE_REFERENCES"])) == 1
    assert statuses("--new-references", "remake")["20240615"] == "made"
    with rasterio.open(out / f"{scene.stem}_cloudfree.tif") as product:
        assert len(json.loads(product.tags()["CLOUDFREE_REFERENCES"])) == 2
    late.unlink()  # as an inbox is emptied
    assert statuses() == {"20240610": "skipped", "20240615": "skipped"}
    assert set(statuses("--max-references", 1).values()) == {"made"}, "another rule is another product"
    assert set(statuses("--max-references", 1, "--buffer", 60).values()) == {"made"}
    damaged = out / f"{scene.stem}_cloudfree.tif"
    damaged.write_bytes(damaged.read_bytes()[:-2000])
    assert statuses("--max-references", 1, "--buffer", 60)["20240615"] == "made"


def test_the_memory_that_a_batch_needs_grows_with_its_dates(add: Make, tmp_path: Path) -> None:
    add(0, 0.6)
    for days in (-5, -3, 4):
        add(days)
    (with_dates, *_), (without, *_) = (
        jobs_of_folder(tmp_path / "in", tmp_path / "made", max_references=most, without_radar="allow")
        for most in (6, 0)
    )
    shape = 6000, 9000
    assert check_memory([(with_dates, shape)], 0) > check_memory([(without, shape)], 0) + 0.3


@pytest.mark.parametrize(("west", "found"), [(-180.0, True), (-179.0, False)])
def test_dates_are_found_across_the_antimeridian(west: float, found: bool) -> None:
    """Neither file is there: without a UDM2 the outlines alone are asked."""
    images = [
        Image(
            Source.of(f"{day:%Y%m%d}.tif"),
            Grid(CRS.from_epsg(4326), Affine(3e-5, 0, left, 0, -3e-5, 10.0), 1000, 1000),
            Acquisition(datetime(day.year, day.month, day.day)),
        )
        for day, left in ((DAY, 179.985), (DAY + timedelta(days=3), west))
    ]
    others = dates.Dates(images, 6, 60.0).of(images[0])
    assert [round(other.shown, 1) for other in others] == ([0.5] if found else [])
