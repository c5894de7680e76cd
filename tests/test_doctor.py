"""The doctor says whether the main job would run, and fails where it would not."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from cloudfree.network.weights import registry

Cli = Callable[..., Result]


def test_it_finds_everything_sound_here(cli: Cli) -> None:
    done = cli("doctor", "--json")
    assert done.exit_code == 0, done.output
    findings = json.loads(done.stdout)
    assert all(finding["sound"] for finding in findings)
    matters = [finding["matter"] for finding in findings]
    assert {"device", "memory", "GDAL", "disk", "clock", "extras"} <= set(matters)
    assert matters.count("weights") == len(registry())
    assert "ok  GDAL" in cli("doctor").stdout


@pytest.mark.parametrize(
    ("target", "value", "matter"),
    [
        ("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10})(), "disk, temporary"),
        ("cloudfree.doctor.verify", None, "weights"),
        ("time.time", lambda: 0.0, "clock"),
        ("cloudfree.doctor.available_memory_gb", lambda: 0.5, "memory"),
        ("cloudfree.doctor._DRIVERS", ("GTiff", "Nonesuch"), "GDAL"),
    ],
)
def test_what_would_not_do_fails(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, target: str, value: object, matter: str
) -> None:
    from cloudfree.errors import WeightsError

    def damaged(name: str) -> str:
        raise WeightsError(f"{name} is damaged")

    monkeypatch.setattr(target, value or damaged)
    done = cli("doctor")
    assert done.exit_code == 1
    assert f"may not run here ({matter}" in done.stderr
    assert any(line.startswith("NO") and ";" in line for line in done.stdout.splitlines())
    assert not all(finding["sound"] for finding in json.loads(cli("doctor", "--json").stdout)), "one document"


@pytest.mark.parametrize(("limit", "sound"), [("1000000000\n", False), ("max\n", True)])
def test_a_container_has_no_more_memory_than_its_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, sound: bool
) -> None:
    from cloudfree import process

    (tmp_path / "memory.max").write_text(limit)
    monkeypatch.setattr(process, "_CONTAINER_LIMIT", tmp_path / "memory.max")
    assert ((process.available_memory_gb() or 0) > 1) == sound


def test_a_folder_that_is_not_there(cli: Cli, tmp_path: Path) -> None:
    done = cli("doctor", "-o", tmp_path / "nowhere")
    assert done.exit_code == 1
    assert "(disk)" in done.stderr
