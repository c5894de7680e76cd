"""`cloudfree qgis`: the algorithms of cloudfree in QGIS."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import click

from cloudfree.cli.screens import option
from cloudfree.cli.terminal import echo_lines
from cloudfree.cli.values import FILE

PLUGIN = Path(__file__).resolve().parents[1] / "qgis" / "plugin"
NAME = "cloudfree_qgis"

_VERSIONS = "QGIS3", "QGIS4"


@click.group()
def qgis() -> None:
    """Use cloudfree from QGIS."""


@qgis.command()
@option("--profile", metavar="NAME", default="default", show_default=True, help="Of QGIS, by name.")
@option("--profile-folder", type=FILE, help="The folder of a profile.  [default: where QGIS keeps them]")
def install(profile: str, profile_folder: Path | None) -> None:
    """Put run, align and batch into QGIS's Processing toolbox.

    They start this cloudfree, in its own environment. Run this again after cloudfree was moved or updated.
    """
    if profile_folder and not profile_folder.is_dir():
        raise click.ClickException(f"{profile_folder} is no folder; that of a QGIS profile is needed: check the path")
    folders = [profile_folder] if profile_folder else _profiles(profile)
    for folder in folders:
        target = folder / "python" / "plugins" / NAME
        _install(target)
        echo_lines([f"Installed in {target}."])
    echo_lines([f"In QGIS: Plugins, Manage and Install Plugins, Installed, tick cloudfree ({NAME})."])


def _profiles(name: str) -> list[Path]:
    """The folders of a profile, one for each QGIS that was started here. Raises ClickException without any."""
    if name in ("", ".", "..") or Path(name).name != name:
        raise click.ClickException(f"{name!r} is no name of a profile; a folder elsewhere is given by --profile-folder")
    home = Path.home()
    roots = {
        "darwin": home / "Library" / "Application Support",
        "win32": Path(os.environ.get("APPDATA", home / "AppData" / "Roaming")),
    }
    root = roots.get(sys.platform, Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")) / "QGIS"
    found = [folder for version in _VERSIONS if (folder := root / version / "profiles" / name).is_dir()]
    if not found:
        raise click.ClickException(
            f"{root} has no profile {name!r}; QGIS makes one when it is first started: start it, or give "
            "--profile-folder"
        )
    return found


def _install(target: Path) -> None:
    """Copy the plugin beside its target, then put it there in place of an earlier one."""
    if target.is_symlink() or (target.exists() and not (target / "metadata.txt").is_file()):
        raise click.ClickException(f"{target} is there, and is no plugin of ours: move it away")
    fresh = target.with_name(f".{NAME}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(PLUGIN, fresh, ignore=shutil.ignore_patterns("__pycache__"))
    (fresh / "command.json").write_text(json.dumps([sys.executable, "-m", "cloudfree"]), encoding="utf-8")
    before = target.with_name(f".{NAME}.before")
    shutil.rmtree(before, ignore_errors=True)
    if target.exists():
        target.rename(before)
    fresh.rename(target)
    shutil.rmtree(before, ignore_errors=True)
