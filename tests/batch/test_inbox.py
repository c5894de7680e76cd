"""A folder into which others drop files: whatever is among them, the other scenes are made, and each file has a row."""

import csv
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from datetime import date
from pathlib import Path

import h5py
import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import Result
from rasterio.crs import CRS
from support import ORIGIN, sar_values_db, scene_dn, write_raster

from cloudfree.batch import Job, Outcome
from cloudfree.batch.inbox import is_radar
from cloudfree.batch.results import read_results, recording
from cloudfree.inputs.location.source import Source
from cloudfree.product.provenance import stated

Cli = Callable[..., Result]
Make = Callable[..., Path]

SIDE = 96
FAST = "--weights", "identity", "--find-clouds", "never", "--edge-limit", 0
GRID = Affine(3, 0, ORIGIN[0], 0, -3, ORIGIN[1])
AROUND = Affine(10, 0, ORIGIN[0] - 1004, 0, -10, ORIGIN[1] + 1003)
GOOD = "20240606_101530_84_2481_3B_AnalyticMS_SR.tif"
ODD = "20240607_101530_84_2481_3B_AnalyticMS_SR.tif"


@pytest.fixture
def inbox(make_scene: Make, make_sar: Make, make_mask: Make, tmp_path: Path) -> Path:
    """A scene with its UDM2, and radar of two passes."""
    (tmp_path / "in").mkdir()
    make_scene(name=f"in/{GOOD}")
    udm2 = np.zeros((8, SIDE, SIDE))
    udm2[0], udm2[5, 20:60, 20:60] = 1, 1
    udm2[0, 20:60, 20:60] = 0
    make_mask(udm2, name=f"in/{GOOD.replace('AnalyticMS_SR', 'udm2')}")
    make_sar(name="in/s1_20240601.tif")
    make_sar(name="in/s1_20240612.tif")
    return tmp_path / "in"


def batch(cli: Cli, inbox: Path, *options: object) -> tuple[Result, dict[str, dict[str, str]]]:
    """A batch of the inbox, and its rows by the path of the scene within the inbox."""
    out = inbox.parent / "made"
    done = cli("batch", inbox, "-o", out, *FAST, *options)
    with (out / "results.csv").open(encoding="utf-8") as file:
        rows = {os.path.relpath(row["planet"], inbox): row for row in csv.DictReader(file)}
    assert [row["planet"] for row in json.loads((out / "results.json").read_text())] == [
        row["planet"] for row in rows.values()
    ]
    assert not [path for path in out.rglob("*") if path.name.startswith(".")]
    return done, rows


# --- scenes ---


def sparse(side: int) -> Callable[[Path], Path]:
    def put(inbox: Path) -> Path:
        size = {"driver": "GTiff", "width": side, "height": side, "count": 4, "dtype": "uint16", "tiled": True}
        with rasterio.open(
            inbox / ODD, "w", **size, SPARSE_OK=True, BIGTIFF="YES", crs=CRS.from_epsg(32633), transform=GRID, nodata=0,
            blockxsize=4096, blockysize=4096,
        ):  # fmt: skip
            pass
        return inbox / ODD

    return put


def same_name(inbox: Path) -> Path:
    (inbox / "again").mkdir()
    return Path(shutil.copy(inbox / GOOD, inbox / "again"))


def copied(inbox: Path) -> Path:
    """As browsers and file managers name them."""
    return Path(shutil.copy(inbox / GOOD, inbox / GOOD.replace(".tif", " (1).tif")))


def no_utf8(inbox: Path) -> Path:
    path = os.fsencode(inbox) + b"/sc\xe9ne_AnalyticMS_SR.tif"
    Path(os.fsdecode(path)).write_bytes((inbox / GOOD).read_bytes())
    return inbox / "sc\\xe9ne_AnalyticMS_SR.tif"


def pipe(inbox: Path) -> Path:
    os.mkfifo(inbox / ODD)
    return inbox / ODD


def no_raster(inbox: Path) -> Path:
    (inbox / ODD).write_bytes(b"no raster at all")
    return inbox / ODD


def nowhere(inbox: Path) -> Path:
    return write_raster(inbox / ODD, scene_dn(SIDE, SIDE), GRID, crs=None, nodata=0)


def far_away(inbox: Path) -> Path:
    return write_raster(inbox / ODD, scene_dn(SIDE, SIDE), Affine(3, 0, 500_000, 0, -3, 1_000_000), nodata=0)


def link_out(inbox: Path) -> Path:
    (inbox.parent / "secret.tif").write_bytes((inbox / GOOD).read_bytes())
    (inbox / ODD).symlink_to(inbox.parent / "secret.tif")
    return inbox / ODD


def raw_bytes(inbox: Path) -> Path:
    """A file of any bytes, of which a header of ENVI's would make a scene."""
    (inbox / ODD).write_bytes(scene_dn(SIDE, SIDE).tobytes())
    place = f"map info = {{UTM, 1, 1, {ORIGIN[0]}, {ORIGIN[1]}, 3, 3, 33, North, WGS-84}}"
    lines = ["ENVI", f"samples = {SIDE}", f"lines = {SIDE}", "bands = 4", "data type = 12", "interleave = bsq", place]
    (inbox / ODD).with_suffix(".hdr").write_text("\n".join(lines))
    return inbox / ODD


def loop(inbox: Path) -> Path:
    (inbox / ODD).symlink_to(ODD)
    return inbox / ODD


def piped_side_file(inbox: Path) -> Path:
    shutil.copy(inbox / GOOD, inbox / ODD)
    os.mkfifo((inbox / ODD).with_suffix(".aux"))
    return inbox / ODD


def deep(inbox: Path) -> Path:
    folder = inbox
    for _ in range(300):  # more would be a path that is too long for the system
        folder /= "a"
    folder.mkdir(parents=True)
    shutil.copy(inbox / GOOD, folder)
    return no_raster(inbox)


def beyond_the_earth(inbox: Path) -> Path:
    crs = CRS.from_string("+proj=ortho +lat_0=-45 +lon_0=195 +datum=WGS84 +units=m")
    return write_raster(inbox / ODD, scene_dn(SIDE, SIDE), Affine(3, 0, 9e6, 0, -3, 9e6), crs=crs, nodata=0)


ODD_SCENES = {
    "the name of another": (same_name, "has the name of"),
    "200,000 x 200,000 pixels": (sparse(200_000), "pixels"),
    "140,000 x 140,000 pixels": (sparse(140_000), "GB"),
    "a name that is no UTF-8": (no_utf8, "no UTF-8"),
    "a pipe": (pipe, "regular file"),
    "no raster": (no_raster, "cannot be read as a raster"),
    "no CRS": (nowhere, "no coordinate reference system"),
    "no radar": (far_away, "no Sentinel-1 image in the folder overlaps it"),
    "off the Earth": (beyond_the_earth, ""),
    "a link out of the folder": (link_out, "--trust-inputs"),
    "a copy under another name": (copied, "is a copy of"),
    "a link to itself": (loop, "does not exist"),
    "any bytes, with a header": (raw_bytes, "cannot be read as a raster"),
    "a pipe beside it": (piped_side_file, "no regular file"),
    "deep folders": (deep, "cannot be read as a raster"),
}


@pytest.mark.attack(4)
@pytest.mark.parametrize("kind", ODD_SCENES)
def test_an_odd_scene_is_a_failed_row_and_the_others_are_made(cli: Cli, inbox: Path, kind: str) -> None:
    put, message = ODD_SCENES[kind]
    path = put(inbox)
    done, rows = batch(cli, inbox)
    assert done.exit_code == 1, done.output
    assert "1 of 2 scenes have no product" in done.stderr
    assert rows[GOOD]["status"] == "made"
    odd = rows[os.path.relpath(path, inbox)]
    assert odd["status"] == "failed"
    assert message in odd["error"]
    assert "bug" not in odd["error"]
    assert "Traceback" not in done.output


@pytest.mark.attack(4)
def test_absurd_tags_of_an_orbit_cost_nothing(cli: Cli, inbox: Path, make_sar: Make) -> None:
    make_sar(name="in/s1_20240606.tif")
    with rasterio.open(inbox / "s1_20240606.tif", "r+") as dataset:
        dataset.update_tags(ABSOLUTE_ORBIT_NUMBER="9" * 5000, PLATFORM="S1A")
    done, rows = batch(cli, inbox)
    assert done.exit_code == 0, done.output
    assert rows[GOOD]["status"] == "made"


@pytest.mark.parametrize("ending", [".TIF", ".tiff"])
def test_twins_of_a_name_cost_one_of_them(cli: Cli, inbox: Path, ending: str) -> None:
    shutil.copy(inbox / GOOD, inbox / GOOD.replace(".tif", ending))
    done, rows = batch(cli, inbox)
    assert done.exit_code == 1
    assert sorted(row["status"] for row in rows.values()) == ["failed", "made"]


# --- what is a scene, what is radar, and what is neither ---


def jobs_of(cli: Cli, inbox: Path, *options: object) -> tuple[Result, dict[str, dict]]:
    """The jobs of an inbox by the path of the scene within it."""
    done = cli("batch", inbox, "-o", inbox.parent / "made", *FAST, "--dry-run", *options)
    assert done.exit_code == 0, done.output
    return done, {os.path.relpath(job["planet"], inbox): job for job in json.loads(done.stdout)["jobs"]}


NO_SCENES = (
    *(f"{folder}/{ODD}" for folder in ("$RECYCLE.BIN", "@eaDir", ".Trash", ".Trash-1000", "System Volume Information")),
    *(f"{folder}/{ODD}" for folder in ("__MACOSX", "lost+found", "#recycle", "deep/@eaDir/x")),
    *(
        ODD.replace(".tif", end)
        for end in ("_ndvi.tif", "_NDWI.tif", ".tif.aux.xml", "_cloudfree.tif", "_cloudfree_qa.tif")
    ),
    ODD.replace("AnalyticMS_SR", "Visual"),
    f"._{ODD}",
    "composite.tif",
    "20240607_LEVEL2_SEN2A_QAI.tif",
)


def test_what_is_no_scene_is_none(cli: Cli, inbox: Path) -> None:
    for name in NO_SCENES:
        (inbox / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(inbox / GOOD, inbox / name)
    done, jobs = jobs_of(cli, inbox)
    assert [*jobs] == [GOOD]
    assert "left out" not in done.stderr
    assert not jobs[GOOD]["references"]
    basic = ODD.replace("3B", "1B")
    shutil.copy(inbox / GOOD, inbox / basic)
    done, jobs = jobs_of(cli, inbox)
    assert [*jobs] == [GOOD]
    assert f"{basic} is a basic product" in done.stderr


def scene_at(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_raster(path, scene_dn(SIDE, SIDE, seed=5), GRID, nodata=0)


def udm2_at(path: Path) -> None:
    write_raster(path, np.ones((8, SIDE, SIDE), np.uint8) * np.array([1, *[0] * 7], np.uint8)[:, None, None], GRID)


@pytest.mark.parametrize(
    "names",
    [
        ("composite.tif", "composite_udm2.tif"),
        ("order/composite_file_format.tif", "order/composite_udm2_file_format.tif"),
        ("2024-06-07_strip_5612345_composite.tif",),
        ("X0055_Y0053/20240607_LEVEL2_SEN2A_BOA.tif", "X0054_Y0053/20240607_LEVEL2_SEN2A_BOA.tif"),
        ("20240607_LEVEL2_PLSD0_BOA.tif",),
        ("20240607_101530_84_2481_3B_AnalyticMS_8b_SR_ndvi_area.tif".replace("_ndvi", ""),),
    ],
)
def test_scenes_as_tools_name_them(cli: Cli, inbox: Path, names: tuple[str, ...]) -> None:
    for name in names:
        scene_at(inbox / name)
        if "udm2" in name:
            udm2_at(inbox / name)
    scenes = {name for name in names if "udm2" not in name}
    _, jobs = jobs_of(cli, inbox)
    assert {*jobs} == {GOOD, *scenes}
    assert not [job for job in jobs.values() if job.get("fault")]
    assert len({job["output"] for job in jobs.values()}) == len(jobs)


def packed(archive: Path, files: dict[str, Path]) -> None:
    with zipfile.ZipFile(archive, "w") as opened:
        for name, path in files.items():
            opened.write(path, name)
            opened.write(path, f"__MACOSX/{name}")


def test_orders_of_planet_are_found_zipped(cli: Cli, inbox: Path, tmp_path: Path) -> None:
    """With the UDM2 in the archive, and once where they are unpacked too; one that is damaged costs a line."""
    scene_at(tmp_path / "scene.tif")
    udm2_at(tmp_path / "udm2.tif")
    udm2 = ODD.replace("AnalyticMS_SR", "udm2")
    files = {f"PSScene/{ODD}": tmp_path / "scene.tif", f"PSScene/{udm2}": tmp_path / "udm2.tif"}
    packed(inbox / "psscene_order.zip", files)
    (inbox / "damaged.zip").write_bytes(b"PK no archive")
    (inbox / "other.zip").write_bytes((inbox / "psscene_order.zip").read_bytes()[:22])
    done, rows = batch(cli, inbox)
    assert done.exit_code == 0, done.output
    inside = f"psscene_order.zip/PSScene/{ODD}"
    assert {name: row["status"] for name, row in rows.items()} == {GOOD: "made", inside: "made"}
    assert (tmp_path / "made" / ODD.replace(".tif", "_cloudfree.tif")).is_file()
    assert inside in rows[GOOD]["references"]
    assert sum("damaged.zip is damaged" in line for line in done.stderr.splitlines()) == 1
    _, again = batch(cli, inbox)
    assert {row["status"] for row in again.values()} == {"skipped"}
    shutil.copy(tmp_path / "scene.tif", inbox / ODD)
    shutil.copy(tmp_path / "udm2.tif", inbox / udm2)
    _, jobs = jobs_of(cli, inbox)
    assert {*jobs} == {GOOD, ODD}


HYP3 = "S1A_IW_20240606T165810_DVP_RTC10_G_gpuned_7C21"
COMPANIONS = ("rgb", "dem", "inc_map", "inc_map_ell", "ls_map", "area", "water_mask")


def hyp3(folder: Path) -> dict[str, Path]:
    """A product of ASF's with what it has beside VV and VH, by names."""
    folder.mkdir()
    power = 10 ** (sar_values_db(300, 300) / 10)
    for name, values in (("VV", power[0]), ("VH", power[1]), *((name, power[0]) for name in COMPANIONS)):
        write_raster(folder / f"{HYP3}_{name}.tif", values[None].astype(np.float32), AROUND, nodata=0)
    (folder / f"{HYP3}.README.md.txt").write_text("words")
    return {path.name: path for path in folder.iterdir()}


@pytest.mark.parametrize("zipped", [False, True])
def test_radar_of_hyp3_is_its_polarisations(cli: Cli, inbox: Path, tmp_path: Path, zipped: bool) -> None:
    for path in inbox.glob("s1_*.tif"):
        path.unlink()
    files = hyp3(tmp_path / HYP3 if zipped else inbox / HYP3)
    if zipped:
        packed(inbox / f"{HYP3}.zip", {f"{HYP3}/{name}": path for name, path in files.items()})
    done, rows = batch(cli, inbox)
    assert done.exit_code == 0, done.output
    assert [Path(path).name for path in rows[GOOD]["sar"].split(";")] == [f"{HYP3}_{name}.tif" for name in ("VH", "VV")]
    assert "left out" not in done.stderr + rows[GOOD]["warnings"]
    if zipped:  # and unpacked beside it
        shutil.copytree(tmp_path / HYP3, inbox / HYP3)
        _, jobs = jobs_of(cli, inbox)
        assert [path.count(".zip") for path in jobs[GOOD]["sar"]] == [0, 0]


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        *((name, True) for name in ("s1_20240606", "S1_VV_VH_angle", "s1_study_area_20240606", "sentinel-1_0606_vv")),
        *(
            (name, True)
            for name in ("20240606_LEVEL2_S1AIA_SIG", "x_gamma0_db", "S1D_IW_0606_VV", "grd_shadow_free_vv")
        ),
        *(
            (name, True)
            for name in ("SENTINEL1A_20240605", "s1grd20240604", "S1A20240605", "Gamma0VV_20240605", "backscatter_0605")
        ),
        *((name, True) for name in ("S1_20240605_study_area", "S1_20240605_mask_applied")),
        *((f"{HYP3}_{name}", False) for name in (*COMPANIONS, "VV_mask", "local_incidence_angle")),
        *((f"OPERA_L2_RTC-S1_T073_{name}", False) for name in ("mask", "number_of_looks", "rtc_anf_gamma0_to_beta0")),
        *((name, False) for name in ("s1a_33NWB_vv_BorderMask", "20240606_visual_vv", "field_vvh", "scene")),
    ],
)
def test_names_of_radar(stem: str, expected: bool) -> None:
    assert is_radar(stem) == expected


def test_what_is_packed_otherwise_is_a_line_each(cli: Cli, inbox: Path) -> None:
    for name in (
        "order.tar.gz",
        "order.tgz",
        "a.7z",
        "a.rar",
        ODD.replace(".tif", ".vrt"),
        ODD.replace(".tif", ".img"),
    ):
        (inbox / name).write_bytes(b"x")
    (inbox / "s1_shadow_mask.tif").write_bytes(b"x")
    with zipfile.ZipFile(inbox / "outer.zip", "w") as archive:
        archive.writestr("inner.zip", b"x")
    done, jobs = jobs_of(cli, inbox)
    assert [*jobs] == [GOOD]
    lines = [line for line in done.stderr.splitlines() if "left out" in line]
    assert len(lines) == 7
    verbose, _ = jobs_of(cli, inbox, "-v")
    assert "passed over" in verbose.stderr


def test_an_order_that_was_downloaded_twice_is_one(cli: Cli, inbox: Path) -> None:
    scene_at(inbox.parent / "elsewhere" / ODD)
    with zipfile.ZipFile(inbox / "o.zip", "w") as archive:
        archive.write(inbox.parent / "elsewhere" / ODD, ODD)
    shutil.copy(inbox / "o.zip", inbox / "o (1).zip")
    _, jobs = jobs_of(cli, inbox)
    assert [*jobs] == [GOOD, f"o.zip/{ODD}"]
    assert not any(job.get("fault") for job in jobs.values())


def test_links_to_folders(cli: Cli, inbox: Path, tmp_path: Path) -> None:
    """Out of the inbox they are told, and followed where inputs are trusted; within it they lead to what is known."""
    scene_at(tmp_path / "elsewhere" / ODD)
    (inbox / "linked").symlink_to(tmp_path / "elsewhere")
    (inbox / "loop").symlink_to(inbox)
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "elsewhere")
    done, jobs = jobs_of(cli, inbox)
    assert [*jobs] == [GOOD]
    lines = [line for line in done.stderr.splitlines() if "linked" in line]
    assert len(lines) == 1
    assert "--trust-inputs" in lines[0]
    done, jobs = jobs_of(cli, inbox, "--trust-inputs")
    assert [*jobs] == [GOOD, f"linked/{ODD}"]
    assert "left out" not in done.stderr
    (tmp_path / "via").symlink_to(inbox)
    done = cli("batch", tmp_path / "via", "-o", tmp_path / "made", *FAST, "--dry-run")
    assert len(json.loads(done.stdout)["jobs"]) == 1


# --- passes of radar ---


def radar_of(cli: Cli, inbox: Path) -> tuple[list[str], str]:
    """The names of a scene's radar, and why."""
    _, jobs = jobs_of(cli, inbox)
    return [Path(path).name for path in jobs[GOOD]["sar"]], jobs[GOOD]["why"][0]


def radar_at(inbox: Path, name: str, east_m: float = 0.0, bands: slice = slice(0, 2), side: int = 300) -> None:
    values = sar_values_db(side, side)[bands]
    write_raster(inbox / name, values, Affine.translation(east_m, 0) @ AROUND, descriptions=("VV", "VH")[bands])


@pytest.fixture
def alone(inbox: Path) -> Path:
    """The inbox without radar."""
    for path in inbox.glob("s1_*.tif"):
        path.unlink()
    return inbox


def test_undated_files_of_one_ground_are_no_pass(cli: Cli, alone: Path) -> None:
    for name in ("s1_a.tif", "s1_b.tif", "s1_c.tif"):
        radar_at(alone, name)
    used, why = radar_of(cli, alone)
    assert used == ["s1_a.tif"]
    assert "of an unknown date, of 3 passes" in why


def test_undated_neighbours_and_polarisations_may_be_one(cli: Cli, alone: Path) -> None:
    for number, east_m in enumerate((-1900.0, 1000.0)):  # they share a hundred metres, over the scene
        for band, name in enumerate(("VV", "VH")):
            radar_at(alone, f"s1_tile{number}_{name}.tif", east_m, slice(band, band + 1))
    used, why = radar_of(cli, alone)
    assert used == [f"s1_tile{n}_{name}.tif" for n in (0, 1) for name in ("VH", "VV")]
    assert "passes" not in why
    radar_at(alone, "s1_other_VH.tif", 1000.0, slice(1, 2))
    assert not {"s1_other_VH.tif", "s1_tile1_VH.tif"} <= {*radar_of(cli, alone)[0]}, "of one ground"


def test_several_undated_passes_are_warned_of_in_the_row(cli: Cli, alone: Path) -> None:
    for name in ("s1_a.tif", "s1_b.tif"):
        radar_at(alone, name)
    _, rows = batch(cli, alone)
    assert "one of 2 passes of radar of unknown dates" in rows[GOOD]["warnings"]


def test_a_scene_of_two_dates_is_warned_of_in_its_row(cli: Cli, inbox: Path) -> None:
    """Rather than given the radar of the wrong one."""
    (inbox / GOOD).rename(inbox / "order_20230104_field7_20240606_analytic_sr.tif")
    _, jobs = jobs_of(cli, inbox)
    ((_, job),) = jobs.items()
    assert "several dates, 2023-01-04 and 2024-06-06" in job["doubts"][0]


@pytest.mark.parametrize("form", ["20240605/S1_VV_VH.tif", "s1_20240605/s1.tif", "2024-06-05/a/iw-vv.rtc.tiff"])
def test_folders_of_the_inbox_date_what_is_undated(cli: Cli, alone: Path, form: str) -> None:
    for day in (("20240520", "2024-05-20"), ("20240605", "2024-06-05")):
        path = form.replace("20240605", day[0]).replace("2024-06-05", day[1])
        (alone / path).parent.mkdir(parents=True)
        radar_at(alone, path)
    _, jobs = jobs_of(cli, alone)
    assert [os.path.relpath(path, alone) for path in jobs[GOOD]["sar"]] == [form]
    assert "2024-06-05" in jobs[GOOD]["why"][0]
    assert "by the folder's name" in jobs[GOOD]["why"][0]


def test_polarisations_in_folders_of_their_own(cli: Cli, alone: Path) -> None:
    for day in ("20240520", "20240605"):
        for band, name in enumerate(("VV", "VH")):
            (alone / name).mkdir(exist_ok=True)
            values = 10 ** (sar_values_db(300, 300)[band : band + 1] / 10)
            write_raster(alone / name / f"S1A_{day}.tif", values.astype(np.float32), AROUND)
    done, _ = batch(cli, alone)
    assert done.exit_code == 0, done.stderr
    _, jobs = jobs_of(cli, alone)
    assert [os.path.relpath(path, alone) for path in jobs[GOOD]["sar"]] == [
        "VH/S1A_20240605.tif",
        "VV/S1A_20240605.tif",
    ]


def test_a_whole_pass_counts_for_more_than_a_nearer_one_of_vv(cli: Cli, alone: Path) -> None:
    radar_at(alone, "S1_20240606_VV.tif", bands=slice(0, 1))
    for band, name in enumerate(("VV", "VH")):
        radar_at(alone, f"S1_20240603_{name}.tif", bands=slice(band, band + 1))
    used, why = radar_of(cli, alone)
    assert used == ["S1_20240603_VH.tif", "S1_20240603_VV.tif"]
    assert "nearer ones have one polarisation alone" in why
    for path in alone.glob("S1_20240603_*"):
        path.rename(path.with_name(path.name.replace("0603", "0510")))
    assert radar_of(cli, alone)[0] == ["S1_20240606_VV.tif"]


def test_an_undated_file_joins_no_two_dates(cli: Cli, alone: Path) -> None:
    """Nor is the same pass, processed twice, a mosaic."""
    for name in ("s1_20240530.tif", "s1_20240607.tif", "s1_20240607T165810_db.tif", "s1_0.tif"):
        radar_at(alone, name)
    used, why = radar_of(cli, alone)
    assert used in (["s1_20240607.tif"], ["s1_20240607T165810_db.tif"])
    assert "of 4 passes" in why


@pytest.mark.parametrize("form", ["{:%Y_%m_%d}", "{:%Y.%m.%d}", "{:%d%b%Y}", "{:%Y%j}", "{:%y%m%d}", "{:%Y-%m-%d}"])
def test_dates_are_read_as_people_write_them(cli: Cli, alone: Path, form: str) -> None:
    for day in (date(2024, 5, 20), date(2024, 6, 5), date(2024, 6, 20)):
        radar_at(alone, f"s1_{form.format(day)}.tif")
    used, why = radar_of(cli, alone)
    assert used == [f"s1_{form.format(date(2024, 6, 5))}.tif"]
    assert "2024-06-05" in why


@pytest.mark.parametrize(
    ("names", "nearest"),
    [
        # The scene is of 10:15 UTC on 2024-06-06.
        (("s1_20240605T051500.tif", "s1_20240606T174500.tif"), 1),  # 29 h and 7.5 h
        (("s1_20240605_051500.tif", "s1_20240606_174500.tif"), 1),
        (("s1_20240606T174500.tif", "s1_20240606T040000.tif"), 1),  # 7.5 h and 6.25 h
        (("s1_20240605.tif", "s1_20240607.tif"), 0),  # before noon, the day before
    ],
)
def test_the_pass_nearest_in_time_is_taken(cli: Cli, alone: Path, names: tuple[str, ...], nearest: int) -> None:
    for name in names:
        radar_at(alone, name)
    assert radar_of(cli, alone)[0] == [names[nearest]]


def test_an_evening_is_nearer_to_the_next_day(cli: Cli, alone: Path) -> None:
    """29 hours away is not 7.5, though the days of both are one away."""
    evening = GOOD.replace("_101530_", "_230000_")
    (alone / GOOD).rename(alone / evening)
    for name in ("s1_20240605T180000.tif", "s1_20240607T063000.tif"):
        radar_at(alone, name)
    _, jobs = jobs_of(cli, alone)
    assert [Path(path).name for path in jobs[evening]["sar"]] == ["s1_20240607T063000.tif"]
    for path in alone.glob("s1_*.tif"):
        path.rename(path.with_name(f"{path.name[:11]}.tif"))
    _, jobs = jobs_of(cli, alone)
    assert [Path(path).name for path in jobs[evening]["sar"]] == ["s1_20240607.tif"]


# --- files that a batch chooses for a scene ---


def test_of_an_item_in_two_forms_the_reflectance_is_another_date(cli: Cli, inbox: Path) -> None:
    udm2_at(inbox / ODD.replace("AnalyticMS_SR", "udm2"))
    for seed, name in enumerate((ODD, ODD.replace("_SR", ""))):
        write_raster(inbox / name, scene_dn(SIDE, SIDE, seed=seed), GRID, nodata=0)
    _, jobs = jobs_of(cli, inbox)
    assert [Path(path).name for path in jobs[GOOD]["references"]] == [ODD]


def odd_projection(text: str, x: float = AROUND.c, y: float = AROUND.f) -> Callable[[Path], None]:
    def put(inbox: Path) -> None:
        crs, transform = CRS.from_string(text), Affine(10, 0, x, 0, -10, y)
        write_raster(inbox / "s1_20240606.tif", sar_values_db(300, 300), transform, crs=crs, descriptions=("VV", "VH"))

    return put


def photo(inbox: Path) -> None:
    values = np.random.default_rng(0).integers(0, 255, (3, 300, 300), np.uint8)
    write_raster(inbox / "s1_20240606.tif", values, AROUND)


def damaged(inbox: Path) -> None:
    """Sound but for its last blocks, at which only those come who read all of it."""
    path, bands = inbox / "s1_20240606.tif", ("VV", "VH")
    write_raster(path, sar_values_db(300, 300), AROUND, descriptions=bands, compress="deflate", blockysize=16)
    content = bytearray(path.read_bytes())
    for start in range(len(content) // 3, len(content) - 64, 2000):
        content[start : start + 64] = b"\xff" * 64
    path.write_bytes(content)


ODD_RADAR = {
    "beyond the horizon": odd_projection("+proj=ortho +lat_0=0 +lon_0=0", 9e6, 9e6),
    "a turned globe": odd_projection("+proj=ob_tran +o_proj=longlat +o_lon_p=0 +o_lat_p=30 +lon_0=15", 9e6, 9e6),
    "a drawing": odd_projection('LOCAL_CS["x",UNIT["m",1]]'),
    "a photo": photo,
    "damaged": damaged,
}


@pytest.mark.attack(4)
@pytest.mark.parametrize("kind", ODD_RADAR)
def test_radar_that_cannot_be_used_is_left_out_with_a_warning(cli: Cli, inbox: Path, kind: str) -> None:
    """Though it is of the scene's day; of the other passes the nearest is used."""
    ODD_RADAR[kind](inbox)
    done, rows = batch(cli, inbox)
    assert done.exit_code == 0, done.output
    assert rows[GOOD]["status"] == "made"
    assert "s1_20240606.tif" in done.stderr
    assert "left out" in done.stderr
    made = stated(inbox.parent / "made" / GOOD.replace(".tif", "_cloudfree.tif"))
    assert [one["name"] for one in made["inputs"] if one["name"].startswith("s1")] == ["s1_20240601.tif"]
    _, again = batch(cli, inbox)
    assert again[GOOD]["status"] == "skipped"


@pytest.mark.attack(4)
def test_of_a_pass_the_files_that_can_be_used_are(cli: Cli, inbox: Path) -> None:
    for path in inbox.glob("s1_*.tif"):
        path.unlink()
    for name, band in (("vv", 0), ("vh", 1)):
        values = sar_values_db(300, 300)[band : band + 1]
        write_raster(inbox / f"s1_20240601_{name}.tif", values, AROUND, descriptions=(name.upper(),))
    (inbox / "s1_20240601_b.tif").write_bytes((inbox / "s1_20240601_vv.tif").read_bytes()[:40_000])
    done, rows = batch(cli, inbox)
    assert done.exit_code == 0, done.output
    assert rows[GOOD]["status"] == "made"
    assert "s1_20240601_b.tif" in rows[GOOD]["warnings"] + done.stderr


@pytest.mark.attack(4)
@pytest.mark.parametrize("whole", [False, True])
def test_another_date_that_cannot_be_used_is_left_out(cli: Cli, inbox: Path, make_mask: Make, whole: bool) -> None:
    """Because its pixels are damaged; or its UDM2, which tells how clear it is, is another thing."""
    dn = scene_dn(SIDE, SIDE)
    path = write_raster(inbox / ODD, dn, GRID, nodata=0, compress="deflate", blockysize=8)
    make_mask(np.ones((1, SIDE, SIDE)), name=f"in/{ODD.replace('AnalyticMS_SR', 'udm2')}")
    if not whole:
        content = bytearray(path.read_bytes())
        content[-3000:] = b"\xff" * 3000
        path.write_bytes(content)
    done, rows = batch(cli, inbox)
    assert rows[GOOD]["status"] == "made", done.output
    assert rows[ODD]["status"] == ("made" if whole else "failed")
    assert "bug" not in rows[ODD]["error"]


@pytest.mark.attack(4)
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_udm2_that_is_another_kind_of_file_stops_nothing(cli: Cli, inbox: Path) -> None:
    shutil.copy(inbox / GOOD, inbox / ODD)
    with h5py.File(inbox / ODD.replace("AnalyticMS_SR", "udm2"), "w") as file:
        file["a"] = file["b"] = np.ones((SIDE, SIDE), np.uint8)
    done, rows = batch(cli, inbox)
    assert rows[GOOD]["status"] == "made", done.output
    assert "Traceback" not in done.output


# --- several batches in one folder ---


@pytest.mark.attack(4)
def test_results_can_be_read_again_whatever_was_told(tmp_path: Path) -> None:
    told = "\0\udce9\n" + "x" * 20_000
    outcome = Outcome(Job(Source.of("a.tif"), (), tmp_path / "a.tif"), "failed", error=told, warnings=(told,) * 1000)
    with recording(tmp_path / "list.csv", tmp_path) as keep:
        keep(outcome)
    assert len(read_results(tmp_path)) == 1


@pytest.mark.attack(4)
def test_a_second_batch_adds_to_results_index_and_collection(
    cli: Cli, inbox: Path, make_scene: Make, tmp_path: Path
) -> None:
    make_scene(name=f"in/{ODD}")
    lists = []
    for number, name in enumerate((GOOD, ODD)):
        lists.append(tmp_path / f"{number}.csv")
        lists[-1].write_text(f"planet,sar,mask\nin/{name},in/s1_20240601.tif,in/{GOOD[:23]}_3B_udm2.tif\n")
    lists[0].write_text(lists[0].read_text().replace(",mask", ",udm2"))
    lists[1].write_text(lists[0].read_text().replace(GOOD, ODD))
    out = tmp_path / "made"
    for source in lists:
        assert cli("batch", source, "-o", out, *FAST, "--report", "--stac").exit_code == 0
    with (out / "results.csv").open() as file:
        assert [Path(row["planet"]).name for row in csv.DictReader(file)] == [GOOD, ODD]
    rows = json.loads((out / "results.json").read_text())
    assert [row["pixels"]["observed"] > 0 for row in rows] == [True, True]
    links = json.loads((out / "collection.json").read_text())["links"]
    assert sum(link["rel"] == "item" for link in links) == 2
    page = (out / "index.html").read_text()
    assert GOOD in page
    assert ODD in page
    assert cli("batch", lists[0], "-o", out, *FAST, "--report", "--stac").exit_code == 0
    rows = json.loads((out / "results.json").read_text())
    assert [(Path(row["planet"]).name, row["status"]) for row in rows] == [(ODD, "made"), (GOOD, "skipped")]


ROW = {"planet": "/x/a.tif", "output": "made/a.tif", "status": "made", "error": None, "seconds": 1.0}


@pytest.mark.attack(4)
@pytest.mark.parametrize(
    "content",
    [
        *("precious", "[1, 2]", "{}", "[" * 100_000),
        *(
            json.dumps([ROW | odd])
            for odd in (
                {"status": "<script>"},
                {"seconds": float("nan")},
                {"seconds": "long"},
                {"seconds": 10**400},
                {"planet": 7},
                {"sar": 7},
                {"sar": [7]},
                {"warnings": "x"},
                {"error": ["x"]},
                {"output": "a\0.tif"},
                {"output": "a" * 20_000},
                {"output": "\udce9.tif"},
                {"pixels": 7},
                {"pixels": {"observed": 7}},
            )
        ),
    ],
)
def test_results_that_are_not_ours_are_kept(cli: Cli, inbox: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "results.json").write_text(content)
    done = cli("batch", inbox, "-o", tmp_path / "made", *FAST)
    assert done.exit_code == 1
    assert "holds no results of a batch" in done.stderr
    assert (tmp_path / "made" / "results.json").read_text() == content


@pytest.mark.attack(7)
@pytest.mark.parametrize("name", ["results.csv", "results.json", "collection.json"])
def test_results_that_are_no_files_are_refused(cli: Cli, inbox: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "made").mkdir()
    os.mkfifo(tmp_path / "made" / name)
    done = cli("batch", inbox, "-o", tmp_path / "made", *FAST, "--stac")
    assert done.exit_code == 1
    assert "is kept" in done.stderr


@pytest.mark.attack(4)
def test_rows_of_others_lead_nowhere(cli: Cli, inbox: Path, tmp_path: Path) -> None:
    """Results may name any file as a product: neither is it shown, nor is its item changed."""
    out, elsewhere = tmp_path / "made", tmp_path / "elsewhere"
    assert cli("batch", inbox, "-o", elsewhere, *FAST, "--stac", "--report").exit_code == 0
    product = elsewhere / GOOD.replace(".tif", "_cloudfree.tif")
    before = product.with_suffix(".json").read_bytes()
    out.mkdir()
    virtual = "<VRTDataset rasterXSize='9' rasterYSize='9'></VRTDataset>"
    (out / "evil.tif").write_text(virtual)
    rows = [
        ROW | {"output": str(output)} for output in (product, "/vsicurl/http://127.0.0.1:9/a.tif", out / "evil.tif")
    ]
    (out / "results.json").write_text(json.dumps(rows))
    assert cli("batch", inbox, "-o", out, *FAST, "--stac", "--report").exit_code == 0
    assert product.with_suffix(".json").read_bytes() == before
    page = (out / "index.html").read_text()
    assert "elsewhere" not in page
    assert "vsicurl" not in page


@pytest.mark.attack(4)
def test_two_giants_cost_no_scene(cli: Cli, inbox: Path) -> None:
    put = sparse(140_000)
    put(inbox).rename(inbox / ODD.replace("0607", "0608"))
    put(inbox)
    done, rows = batch(cli, inbox)
    assert done.exit_code == 1
    assert [row["status"] for row in rows.values()] == ["made", "failed", "failed"]


@pytest.mark.attack(7)
def test_a_product_that_is_a_link_to_another_stops_nothing(cli: Cli, inbox: Path, tmp_path: Path) -> None:
    shutil.copy(inbox / GOOD, inbox / ODD)
    out = tmp_path / "made"
    out.mkdir()
    link, other = (out / name.replace(".tif", "_cloudfree.tif") for name in (ODD, GOOD))
    _, rows = batch(cli, inbox)
    link.unlink()
    link.symlink_to(other.name)
    content = other.read_bytes()
    _, rows = batch(cli, inbox)
    assert rows[GOOD]["status"] == "skipped"
    assert other.read_bytes() == content


@pytest.mark.attack(9)
@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_is_a_formula(first: str) -> None:
    name = f"{first}1+1.tif"
    assert Outcome(Job(Source(name, name), (), Path(name)), "failed").as_row()["planet"] == f"'{name}"


@pytest.mark.attack(7)
@pytest.mark.parametrize("output", ["../outside.tif", "{}/outside.tif", "link/outside.tif"])
def test_products_of_a_list_stay_in_the_folder(cli: Cli, inbox: Path, tmp_path: Path, output: str) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "link").symlink_to(tmp_path)
    (tmp_path / "list.csv").write_text(f"planet,sar,output\nin/{GOOD},in/s1_20240601.tif,{output.format(tmp_path)}\n")
    command = "batch", tmp_path / "list.csv", "-o", tmp_path / "made", *FAST
    done = cli(*command)
    assert done.exit_code == 1
    assert "is not in" in done.stderr
    assert not (tmp_path / "outside.tif").exists()
    assert cli(*command, "--outputs-anywhere").exit_code == 0
    assert (tmp_path / "outside.tif").exists()
