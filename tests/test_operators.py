"""What `docs/operators.md` shows, run as cron runs it: with next to no environment."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support import scene_dn

Make = Callable[..., Path]

PAGE = Path(__file__).resolve().parents[1] / "docs" / "operators.md"
NAME = "20240615_101530_84_2481_3B_AnalyticMS_SR.tif"


def shown(language: str) -> str:
    blocks = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 1
    return str(blocks[0])


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script")
@pytest.mark.slow
def test_the_script_makes_logs_and_mails_in_crons_environment(make_scene: Make, make_sar: Make, tmp_path: Path) -> None:
    inbox, products, bin_folder = tmp_path / "in box", tmp_path / "products", tmp_path / "bin"
    inbox.mkdir()
    bin_folder.mkdir()
    make_scene(name=f"in box/{NAME}")
    make_sar(name="in box/s1.tif")
    options = "--weights identity --find-clouds never"
    called = f'#!/bin/sh\ncase $1 in batch) set -- "$@" {options};; esac\nexec {sys.executable} -m cloudfree "$@"\n'
    for name, text in (("cloudfree", called), ("mail", f'#!/bin/sh\ncat > "{tmp_path}/mail $3.txt"\n')):
        (bin_folder / name).write_text(text)
        (bin_folder / name).chmod(0o755)
    script = tmp_path / "clear_scenes.sh"
    script.write_text(shown("sh"))
    script.chmod(0o755)
    environment = {"HOME": str(tmp_path), "SHELL": "/bin/sh", "PATH": "/usr/bin:/bin", "CLOUDFREE_BIN": str(bin_folder)}

    def night() -> int:
        words = [script, inbox, products, "ops@example.org"]
        return subprocess.run(list(map(str, words)), env=environment, cwd="/", check=False, timeout=120).returncode

    assert night() == 0
    product = products / f"{Path(NAME).stem}_cloudfree.tif"
    made = product.stat().st_mtime_ns
    assert night() == 0
    assert product.stat().st_mtime_ns == made
    assert not list(tmp_path.glob("mail*"))
    make_scene(name="in box/20240616_101530_84_2481_3B_AnalyticMS_SR.tif", dn=scene_dn(96, 96, bands=3))
    assert night() == 1
    assert product.stat().st_mtime_ns == made
    assert "20240616_101530" in (tmp_path / "mail ops@example.org.txt").read_text()
    assert len((products / "log.jsonl").read_text().splitlines()) >= 1
