"""A command says what it does while it does it, and ends with a line that says what was done."""

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

import cloudfree
from cloudfree import stages
from cloudfree.cli import closing
from cloudfree.cli.progress import Progress, progress_bar
from cloudfree.plan import Options
from cloudfree.planning import make_plan_of_one

Cli = Callable[..., Result]
Make = Callable[..., Path]

FAST = "--weights", "identity", "--find-clouds", "never", "--edge-limit", "0"
LAST = re.compile(
    r"INFO: done in [\d.]+ s on cpu(, with (?P<also>[^;]+))?; (?P<product>\S+): (?P<share>[\d.]+) % of the data "
    r"rewritten( \((?P<by>.*)\))?, the rest as observed"
)


@pytest.fixture
def clouded(make_scene: Make, make_sar: Make, make_mask: Make) -> list[str]:
    mask = make_mask(np.pad(np.ones((20, 20)), 38))
    return ["--planet", str(make_scene()), "--sar", str(make_sar()), "--mask", str(mask)]


@pytest.fixture
def listed(clouded: list[str], make_scene: Make, tmp_path: Path) -> Path:
    """A list of a scene that can be made, and one that is none."""
    (tmp_path / "bad.tif").write_bytes(b"no raster at all")
    rows = [",".join(clouded[1::2]), ",".join([str(tmp_path / "bad.tif"), *clouded[3::2]])]
    (tmp_path / "list.csv").write_text("\n".join(["planet,sar,mask", *rows]) + "\n")
    return tmp_path / "list.csv"


def on_a_terminal(*words: object, columns: int = 80) -> tuple[int, list[str]]:
    """The exit status of a command on a terminal, and what it draws there, each state of the bar as a line."""
    pty, termios = pytest.importorskip("pty"), pytest.importorskip("termios")
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, columns))
    command = [sys.executable, "-m", "cloudfree", *map(str, words)]
    with subprocess.Popen(command, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                shown += os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
    os.close(ours)
    lines = re.split(r"\r|\n|\x1b\[A", shown.decode())
    return process.returncode, [line.strip() for line in lines if line.strip()]


# --- the last line ---


def test_a_run_ends_with_what_was_written_how_much_and_by_what(cli: Cli, clouded: list[str], tmp_path: Path) -> None:
    done = cli("run", *clouded, "-o", tmp_path / "out.tif", *FAST, "--also", "qa,quicklook", "--json")
    (line,) = done.stderr.splitlines()
    said, answer = LAST.fullmatch(line), json.loads(done.stdout)
    assert said
    assert said["product"] == str(tmp_path / "out.tif")
    assert said["also"] == "out_qa.tif and out.png"
    share = answer["pixels"]["reconstructed"] / sum(answer["pixels"].values())
    assert float(said["share"]) == pytest.approx(100 * share, abs=0.05)
    assert said["by"] == f"{100 * share:.1f} % from radar; by identity"


def test_it_says_what_else_than_radar_and_how_sure_it_is(
    make_scene: Make, make_sar: Make, make_mask: Make, tmp_path: Path
) -> None:
    names = "20240615_101530_84_2481_3B_AnalyticMS_SR.tif", "20240611_101530_84_2481_3B_AnalyticMS_SR.tif"
    scene, other = (make_scene(200, 200, name=name) for name in names)
    mask = make_mask(np.pad(np.ones((60, 60)), 70))
    beside = {"mask": mask, "references": other, "uncertainty": tmp_path / "u.tif", "find_clouds": "never"}
    result = cloudfree.run(scene, make_sar(), tmp_path / "out.tif", **beside)
    said = closing.of_run(result)
    assert "% from " in said
    weight = r"u-net-small with a weight of \d+( to \d+)? %|without u-net-small, which did no better"
    assert re.search(weight, said)
    mean = sum(result.deviation.values()) / 4
    assert f"one standard deviation is {mean:.2g} of reflectance" in said


@pytest.mark.parametrize(
    ("pixels", "dates", "words"),
    [
        ({"reconstructed": 50}, 0, ["50.0 % from radar"]),
        (
            {"reconstructed": 5, "seen_through": 2},
            1,
            ["5.0 % from radar and 1 other date", "2.0 % from what shows through"],
        ),
        ({"reconstructed_without_sar": 10}, 0, ["10.0 % from surroundings without radar"]),
        ({"reconstructed_without_sar": 10}, 2, ["10.0 % from 2 other dates and surroundings without radar"]),
        ({}, 2, []),
    ],
)
def test_shares_of_the_data_are_told_by_what_they_were_made_from(
    pixels: dict[str, int], dates: int, words: list[str]
) -> None:
    every = {"nodata": 900, "observed": 100 - sum(pixels.values()), "not_reconstructed": 0}
    every |= {"reconstructed": 0, "reconstructed_without_sar": 0, "seen_through": 0} | pixels
    assert list(closing.sources(every, dates)) == words
    assert list(closing.sources(dict.fromkeys(every, 0), dates)) == []


def test_where_nothing_was_rewritten_nothing_is_said_of_how(cli: Cli, clouded: list[str], tmp_path: Path) -> None:
    done = cli("run", *clouded[:4], "-o", tmp_path / "out.tif", *FAST)
    assert LAST.fullmatch(done.stderr.splitlines()[-1])


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.6, "1 min 0 s"), (3599, "59 min 59 s"), (7260, "2 h 1 min")],
)
def test_a_time_in_words(seconds: float, words: str) -> None:
    assert closing.seconds(seconds) == words


def test_a_batch_says_a_line_for_each_scene_and_how_many_were_what(cli: Cli, listed: Path, tmp_path: Path) -> None:
    batch = "batch", listed, "-o", tmp_path / "made", *FAST
    product = tmp_path / "made" / "scene_cloudfree.tif"
    lines = cli(*batch).stderr.splitlines()
    (made,) = (line for line in lines if line.startswith("INFO: scene.tif: "))
    assert re.fullmatch(rf"INFO: scene.tif: made in [\d.]+ s; {product}: [\d.]+ % of the data .*, the rest .*", made)
    assert sum(line.startswith("ERROR: bad.tif: ") for line in lines) == 1
    counts = r"2 scenes in [\d.]+ s: 1 made, 0 skipped, 1 failed; products and results.csv are in "
    assert re.fullmatch(f"INFO: {counts}{tmp_path / 'made'}", lines[-2])
    assert lines[-1].startswith("Error: 1 of 2 scenes have no product")
    again = cli(*batch, "--max-failures", 0).stderr
    assert f"INFO: scene.tif: skipped, for its product is there: {product}" in again
    assert "0 made, 1 skipped, 1 failed" in again
    assert "INFO" not in cli(*batch, "--quiet").stderr
    assert "INFO" not in cli(*batch, "--json").stderr


def test_align_ends_with_where_radar_is(cli: Cli, clouded: list[str], tmp_path: Path) -> None:
    done = cli("align", *clouded[:4], "-o", tmp_path / "s1_on_grid.tif")
    last = done.stderr.splitlines()[-1]
    assert re.match(rf"INFO: done in [\d.]+ s; {tmp_path / 's1_on_grid.tif'}: Sentinel-1 is (left|moved)", last)


# --- numbers ---


def test_json_has_the_time_of_the_plan_and_of_all_and_its_keys_are_names(
    cli: Cli, clouded: list[str], tmp_path: Path
) -> None:
    started_s = time.perf_counter()
    done = cli("run", *clouded, "-o", tmp_path / "out.tif", "--edge-limit", 0, "--find-clouds", "never", "--json")
    elapsed_s = time.perf_counter() - started_s
    answer = json.loads(done.stdout)
    seconds = answer["seconds"]
    assert next(iter(seconds)) == "plan"
    assert list(seconds)[-1] == "total"
    stages_s = sum(value for name, value in seconds.items() if name != "total")
    assert 0 < stages_s <= seconds["total"] + 0.01
    assert seconds["total"] <= elapsed_s

    def keys(value: object) -> set[str]:
        below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return {*(value if isinstance(value, dict) else ()), *(key for one in below for key in keys(one))}

    words = set(answer.pop("scene_model"))
    assert words == {"mean", "regression on radar", "radar and surroundings", *words}
    assert len(answer["scene_model_weights"]) == len(words)
    assert [key for key in keys(answer) if not key.isidentifier()] == []


# --- a dry run ---


def test_a_dry_run_is_words_on_a_terminal_and_json_elsewhere(cli: Cli, clouded: list[str], tmp_path: Path) -> None:
    words = "run", *clouded, "-o", tmp_path / "out.tif", *FAST, "--dry-run"
    for more in ((), ("--json",)):
        plan = json.loads(cli(*words, *more).stdout)
        assert plan["trust"] is None, "that is measured in the run"
    status, lines = on_a_terminal(*words)
    assert status == 0
    text = "\n".join(lines)
    assert re.search(r"scene.tif of an unknown date: [\d.]+ % cloud, haze or shadow \(by mask.tif\), [\d.]+ % of", text)
    assert "Sentinel-1 covers 100 % of the scene's data, and is " in text
    assert "the network is identity, on cpu in " in text
    assert lines[-1] == f"{tmp_path / 'out.tif'} would be written; nothing was"
    assert '"fill"' not in text
    assert '"fill": "clouds"' in "\n".join(on_a_terminal(*words, "--json")[1])
    assert not (tmp_path / "out.tif").exists()


def test_so_is_one_of_a_batch(cli: Cli, listed: Path, tmp_path: Path) -> None:
    words = "batch", listed, "-o", tmp_path / "made", *FAST, "--dry-run"
    planned = [Path(job["planet"]).name for job in json.loads(cli(*words).stdout)["jobs"]]
    assert planned == ["scene.tif", "bad.tif"]
    status, lines = on_a_terminal(*words, columns=200)
    assert status == 0
    assert any(line.startswith("scene.tif: ") and line.endswith("with s1.tif") for line in lines)
    assert re.match(r"2 scenes into .*: 0.0 GB of files at most, about .* GB of memory; nothing was", lines[-1])


@pytest.mark.parametrize("radar", [True, False])
def test_a_plan_in_words_has_no_line_of_what_there_is_none_of(clouded: list[str], tmp_path: Path, radar: bool) -> None:
    options = Options.of(clouded[1], clouded[3] if radar else None, output=tmp_path / "o.tif", mask=clouded[5])
    lines = list(cloudfree.described.in_words(make_plan_of_one(options)))
    assert sum("Sentinel-1" in line for line in lines) == radar
    assert len(lines) == 2 + radar


# --- while it runs ---


@pytest.mark.slow
def test_the_bar_tells_of_scene_and_stage_from_the_first_moment(
    clouded: list[str], make_scene: Make, tmp_path: Path
) -> None:
    scene = make_scene(600, 600, name="20240615_101530_84_2481_3B_AnalyticMS_SR.tif")
    files = "--planet", scene, "--sar", clouded[3], "-o", tmp_path / "out.tif", "--weights", "identity"
    status, lines = on_a_terminal("run", *files)
    assert status == 0
    bars = [line for line in lines if not line.startswith(("INFO", "WARNING"))]
    assert bars[0] == "20240615_101530_84: starting [00:00]"
    told = [re.match(r"20240615_101530_84: ([a-z ]+?) +(\d+%|\[)", line) for line in bars]
    assert all(told)
    assert list(dict.fromkeys(match[1] for match in told if match)) == [
        *("starting", "reading inputs", "finding clouds", "aligning inputs", "following clouds", "modelling ground"),
        *("reconstructing on cpu", "finishing files"),
    ]
    assert max(map(len, bars)) <= 80
    assert not re.search(r"<\d{3,}:", "".join(bars))
    assert LAST.match(lines[-1][:80].ljust(80)) or lines[-1].startswith("INFO: done in ")


def test_the_bar_of_a_batch_tells_which_scenes_are_made(listed: Path, tmp_path: Path) -> None:
    status, lines = on_a_terminal("batch", listed, "-o", tmp_path / "made", *FAST, columns=120)
    assert status == 1
    assert any(re.match(r"list.csv: scene +0% .* 0/2 scenes", line) for line in lines)
    assert any(re.match(r"list.csv: bad +50% .* 1/2 scenes", line) for line in lines)
    assert any(line.startswith("INFO: scene.tif: made in ") for line in lines)


def test_no_time_left_is_told_before_enough_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    shown: list[tuple[str, float, float | None]] = []
    progress = Progress("scene", None, "", lambda *state: shown.append(state))
    progress.stage("reading inputs")
    now = 600.0
    progress.expect(100)
    progress.stage("reconstructing")
    assert progress.left() == ""
    now = 601.0
    progress(1)
    assert progress.left() == "", "1 % tells little"
    now = 610.0
    progress(9)
    assert progress.left() == "<01:30", "ten seconds for a tenth; what went before does not count"
    now = 670.0
    assert progress.left() == "<00:30", "it falls while nothing is finished"
    now = 900.0
    assert progress.left() == "<00:00"
    now = 600 + 36_000.0
    progress(10)
    assert progress.left() == "<40:00:00"
    progress(80)
    assert progress.left() == ""
    assert progress.is_finished
    assert shown[0] == ("scene: reading inputs", 0.0, None)


def test_a_job_of_nothing_has_no_time_left() -> None:
    progress = Progress("", 0, "", None)
    assert progress.left() == ""
    progress(0)
    assert progress.left() == ""


def test_a_long_stage_is_a_line_of_the_log_where_no_one_watches(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    caplog.set_level("INFO", "cloudfree.progress")
    with progress_bar("starting", False, None, name="20240615_101530_84_2481_3B") as progress:
        now = 30.0
        progress.stage("reading inputs")
        now = 61.0
        progress.stage("finding clouds")
    assert [record.getMessage() for record in caplog.records] == ["20240615_101530_84: finding clouds"]


def test_stages_are_told_to_whoever_listens_and_to_no_one_else() -> None:
    heard: list[str] = []
    stages.begin("before")
    with stages.heard_by(heard.append):
        stages.begin("within")
        with stages.heard_by(lambda _: None):
            stages.begin("deeper")
        stages.begin("within again")
    stages.begin("after")
    assert heard == ["within", "within again"]


@pytest.mark.slow
def test_the_demo_says_five_lines_and_what_came_of_it(cli: Cli, tmp_path: Path) -> None:
    done = cli("demo", "-o", tmp_path / "demo", "--weights", "identity")
    assert done.exit_code == 0, done.output
    lines = done.stderr.splitlines()
    assert sum(line.startswith("INFO: ") for line in lines) == 5
    assert LAST.fullmatch(lines[-1])
    assert "PSNR of reconstructed pixels" in done.stdout
    program, *arguments = shlex.split(done.stdout.splitlines()[-1])
    assert program == "cloudfree"
    by_hand = cli(*arguments, "--weights", "identity")
    assert by_hand.exit_code == 0, by_hand.output
    assert LAST.fullmatch(by_hand.stderr.splitlines()[-1])


def test_the_demo_keeps_what_a_user_has(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "qa.tif").write_text("mine")
    done = cli("demo", "-o", tmp_path, "--weights", "identity")
    assert done.exit_code == 1
    assert "qa.tif is no product of cloudfree and is kept" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["qa.tif"]


# --- what files are ---


def test_info_goes_on_after_a_bad_file_and_fails_at_its_end(
    cli: Cli, make_scene: Make, make_sar: Make, tmp_path: Path
) -> None:
    (tmp_path / "bad.tif").write_bytes(b"no raster at all")
    files = tmp_path / "bad.tif", make_scene(), tmp_path / "none.tif", make_sar()
    done = cli("info", *files)
    assert done.exit_code == 1
    assert f"{files[1]}: optical scene" in done.stdout
    assert f"{files[3]}: Sentinel-1" in done.stdout
    assert "covers 100.0 % of the first file's footprint" in done.stdout
    bad, missing = done.stderr.splitlines()
    assert bad.startswith("Error: ")
    assert "bad.tif cannot be read as a raster" in bad
    assert "none.tif does not exist" in missing
    told = cli("info", "--json", *files)
    assert told.exit_code == 1
    assert [sorted({"error", "kind"} & set(one))[0] for one in json.loads(told.stdout)] == ["error", "kind"] * 2


def test_info_on_one_bad_file_fails_as_all_commands_do(cli: Cli, tmp_path: Path) -> None:
    done = cli("info", "--json", tmp_path / "none.tif")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["exit"] == 1
    assert len(done.stderr.splitlines()) == 1


def test_info_tells_date_and_share_of_cloud(cli: Cli, make_scene: Make, make_sar: Make, make_mask: Make) -> None:
    name = "20240615_101530_84_2481_3B"
    udm2 = np.zeros((8, 96, 96))
    udm2[0], udm2[5, :48, :48] = 1, 1
    udm2[0, :48, :48] = 0
    udm2[:, 72:] = 0  # the scene ends there
    files = [
        make_scene(name=f"{name}_AnalyticMS_SR.tif"),
        make_mask(udm2, name=f"{name}_udm2.tif"),
        make_sar(name="S1A_IW_GRDH_1SDV_20240601T165810_20240601T165835_054321_069ABC_1234.tif"),
        make_scene(name="scene.tif"),
    ]
    told = json.loads(cli("info", "--json", *files).stdout)
    share = pytest.approx(48 * 48 / (72 * 96), abs=1e-4)
    assert [one["cloudy_share"] for one in told] == [share, share, None, None]
    dates = [one["acquired"] and one["acquired"][:16] for one in told]
    assert dates == ["2024-06-15 10:15", "2024-06-15 10:15", "2024-06-01 16:58", None]
    lines = cli("info", *files).stdout.splitlines()
    assert lines.count("  acquired 2024-06-15 10:15 UTC") == 2
    assert lines.count("  33.3 % cloud, haze or shadow") == 2
    assert sum("2024-06-01" in line and "acquired" in line for line in lines) == 1


def test_info_of_a_scene_with_a_bad_udm2_has_no_share(cli: Cli, make_scene: Make, tmp_path: Path) -> None:
    (tmp_path / "20240615_101530_84_2481_3B_udm2.tif").write_bytes(b"nothing")
    done = cli("info", "--json", make_scene(name="20240615_101530_84_2481_3B_AnalyticMS_SR.tif"))
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)[0]["cloudy_share"] is None
    assert done.stderr == ""
