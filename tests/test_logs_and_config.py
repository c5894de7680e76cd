"""What a scheduler reads: logs as lines of JSON, failures as objects, options from the environment and a file."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from cloudfree.cli.terminal import progress_bar
from cloudfree.errors import warnings_heard

Cli = Callable[..., Result]
Make = Callable[..., Path]
FAST = "--weights", "identity", "--find-clouds", "never"


@pytest.fixture(autouse=True)
def logs_as_they_were() -> None:
    yield
    logging.basicConfig(handlers=[], force=True)


@pytest.mark.parametrize("alone", [True, False])
def test_what_is_heard_is_told_as_it_would_be_if_nobody_listened(
    alone: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also in a script or on a worker, where nobody has set logging up."""
    monkeypatch.setattr(logging.getLogger("cloudfree"), "propagate", not alone)
    with warnings_heard() as heard:
        for word in ("one", "two", "one"):
            logging.getLogger("cloudfree.plan").warning("number %s", word)
    assert heard == ["number one", "number two"]
    assert capsys.readouterr().err == ("number one\nnumber two\nnumber one\n" if alone else "")


def test_a_log_is_an_object_a_line_on_stderr_and_in_a_file(
    cli: Cli, make_scene: Make, make_sar: Make, tmp_path: Path
) -> None:
    arguments = "run", "--planet", make_scene(), "--sar", make_sar(), "-o", tmp_path / "out.tif", *FAST
    done = cli(*arguments, "-v", "--log-format", "json", "--log-file", tmp_path / "log.jsonl")
    assert done.exit_code == 0, done.output
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert {"time", "level", "logger", "message"} == set(lines[0])
    assert any(line["message"].startswith("weights are identity") for line in lines)
    assert (tmp_path / "log.jsonl").read_text() == done.stderr
    assert "\x1b" not in done.stderr
    failed = cli(*arguments, "--log-format", "json", "--log-file", tmp_path / "log.jsonl")
    assert failed.exit_code == 1
    (line,) = (json.loads(line) for line in failed.stderr.splitlines())
    assert (line["level"], "exists and is kept" in line["message"]) == ("ERROR", True)
    assert (tmp_path / "log.jsonl").read_text() == done.stderr + failed.stderr


@pytest.mark.parametrize(("wrong", "status"), [(("--buffer", "x"), 2), (("--mask", "no.tif"), 1)])
def test_a_failure_is_an_object_where_json_was_asked_for(
    cli: Cli, make_scene: Make, make_sar: Make, tmp_path: Path, wrong: tuple[str, str], status: int
) -> None:
    arguments = "run", "--planet", make_scene(), "--sar", make_sar(), "-o", tmp_path / "out.tif", *FAST
    done = cli(*arguments, "--json", *wrong)
    assert done.exit_code == status
    answer = json.loads(done.stdout)
    assert answer["exit"] == status
    assert f"Error: {answer['error']}" in done.stderr


def test_options_come_from_a_file_the_environment_and_the_line_the_last_first(
    cli: Cli, make_scene: Make, make_sar: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "c.toml").write_text('tile = 256\nweights = "identity"\n[run]\nfind-clouds = "never"\noverlap = 16\n')
    monkeypatch.setenv("CLOUDFREE_RUN_OVERLAP", "32")
    scene, sar = make_scene(), make_sar()
    files = "--planet", scene, "--sar", sar, "-o", tmp_path / "out.tif"
    done = cli("--config", tmp_path / "c.toml", "run", *files, "--dry-run")
    assert done.exit_code == 0, done.output
    plan = json.loads(done.stdout)
    assert (plan["tile"], plan["overlap"], plan["weights"]["name"], plan["fill"]) == (256, 32, "identity", "all")
    assert plan["option_sources"]["--overlap"] == {"value": "32", "from": "environment"}
    assert plan["option_sources"]["--find-clouds"] == {"value": "never", "from": "config"}
    typed = json.loads(cli("--config", tmp_path / "c.toml", "run", *files, "--tile", 128, "--dry-run").stdout)
    assert typed["tile"] == 128
    assert "--tile" not in typed["option_sources"]


def test_values_of_a_file_may_be_numbers_lists_and_yes_or_no(
    cli: Cli, make_scene: Make, make_sar: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene, one, two = make_scene(), make_sar(), make_sar(name="s 2.tif")
    log = tmp_path / "log.txt"
    options = {
        "planet-bands": [1, 2, 3, 4],
        "sar": [str(one), str(two)],
        "bbox": [13.0, 45.0, 14.0, 46.0],
        "log-file": str(log),
        "verbose": True,
        "tile": 128,
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in options.items()]
    (tmp_path / "c.toml").write_text("\n".join(["[run]", *lines]))
    rest = "--planet", scene, "-o", tmp_path / "out.tif", *FAST, "--dry-run"
    done = cli("--config", tmp_path / "c.toml", "run", *rest)
    assert done.exit_code == 0, done.output
    sources = json.loads(done.stdout)["option_sources"]
    assert sources["--planet-bands"]["value"] == "1,2,3,4"
    assert sources["--sar"]["value"] == f"{one},{two}"
    assert sources["--log-file"]["value"] == str(log)
    assert "weights are identity" in log.read_text()
    (tmp_path / "c.toml").write_text(f'[run]\nsar = "{one}"\n')
    assert cli("--config", tmp_path / "c.toml", "run", *rest).exit_code == 0
    monkeypatch.setenv("CLOUDFREE_RUN_SAR", f"{one}; {two}")
    monkeypatch.setenv("CLOUDFREE_RUN_PLANET_BANDS", "1,2,3,4")
    done = cli("run", *rest)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["option_sources"]["--sar"]["value"] == f"{one},{two}"


@pytest.mark.parametrize(
    "text", ["buffer = [1, 2]", "tile = true", "planet = 5", "mask = []", "wait = 1979-05-27", "overwrite = 'perhaps'"]
)
def test_a_value_of_the_wrong_kind_is_one_line(cli: Cli, make_sar: Make, tmp_path: Path, text: str) -> None:
    (tmp_path / "c.toml").write_text(f"[run]\n{text}\n")
    done = cli("--config", tmp_path / "c.toml", "run", "--sar", make_sar(), "-o", tmp_path / "out.tif", *FAST)
    assert done.exit_code in (1, 2)
    assert "Error: " in done.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tile]\nx = 3", "'tile', which is no option"),
        ("tiles = 3", "'tiles', which is no option"),
        ("[run]\ntiles = 3", "'tiles' in [run]"),
        ("run = 3", "a table of options"),
        ("tile", "cannot be read as TOML"),
    ],
)
def test_a_file_that_says_nothing_known_is_refused(cli: Cli, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "c.toml").write_text(text)
    done = cli("--config", tmp_path / "c.toml", "info", tmp_path / "c.toml")
    assert done.exit_code == 2
    assert message in done.stderr


def test_where_no_one_watches_progress_is_a_line_a_minute(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    caplog.set_level(logging.INFO, "cloudfree.progress")
    with progress_bar("cpu", False, 100, "{n:.1f}/{total:.1f} Mpx") as progress:
        for _ in range(10):
            now += 25
            progress(10)
    assert [record.getMessage() for record in caplog.records][:2] == ["30.0/100.0 Mpx, 30 %", "60.0/100.0 Mpx, 60 %"]
    assert capsys.readouterr().err == ""


@pytest.mark.attack(9)
def test_names_of_files_forge_no_line_of_the_log(cli: Cli, make_sar: Make, tmp_path: Path) -> None:
    scene = tmp_path / "scene\nINFO: all is well\x1b[2J.tif"
    scene.write_text("no raster")
    result = cli(
        "run", "--planet", scene, "--sar", make_sar(), "-o", tmp_path / "out.tif", "--log-file", tmp_path / "l"
    )
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert "scene\\nINFO: all is well\\x1b[2J.tif" in result.stderr
