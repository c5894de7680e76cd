"""Pages in a real browser, where there is one: they fit a phone, the slider and the table's buttons work."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from support import scene_dn

from cloudfree.batch.index import write_index
from cloudfree.batch.jobs import Job
from cloudfree.batch.results import Outcome
from cloudfree.inputs.location.source import Source

Cli = Callable[..., Result]
Make = Callable[..., Path]

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = pytest.mark.skipif(BROWSER is None, reason="there is no Chromium")

PROBE = """
const texts = [innerWidth, document.documentElement.scrollWidth];
document.querySelectorAll(".compare input").forEach((slider) => {
  slider.value = 25;
  slider.dispatchEvent(new Event("input"));
  texts.push(getComputedStyle(slider.parentElement.querySelector(".after")).clipPath, slider.ariaValueText);
});
document.querySelectorAll("thead button").forEach((button) => button.click());
document.querySelector("thead th:last-of-type button")?.click();
texts.push(...Array.from(document.querySelectorAll(".scenes tbody th")).map((cell) => cell.textContent.trim()));
document.title = texts.join("|");
"""


def dumped(page: Path, width: int, profile: Path) -> str:
    """The page as the browser has it after its scripts."""
    options = "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}", "--dump-dom"
    size = f"--window-size={width},800", "--virtual-time-budget=2000"
    done = subprocess.run(
        [str(BROWSER), *options, *size, page.as_uri()], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout


def probed(page: Path, width: int, profile: Path) -> list[str]:
    """What `PROBE` finds in a copy of the page that lets it run."""
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text(encoding="utf-8"))
    copy = page.with_name(f"probed_{page.name}")
    copy.write_text(text.replace("</body>", f"<script>{PROBE}</script></body>"), encoding="utf-8")
    title = re.search(r"<title>(.*?)</title>", dumped(copy, width, profile))
    assert title
    return title[1].split("|")


def test_the_page_fits_and_its_slider_moves(cli: Cli, make_scene: Make, make_sar: Make, tmp_path: Path) -> None:
    name = f"{'a_very_long_name_' * 8}.tif"
    files = "--planet", make_scene(name=name, dn=scene_dn(60, 90)), "--sar", make_sar()
    page, profile = tmp_path / "out.html", tmp_path / "profile"
    made = "-o", tmp_path / "out.tif", "--report", page, "--weights", "identity", "--find-clouds", "never"
    assert cli("run", *files, *made).exit_code == 0
    for width in (360, 1280):
        seen, needed, *sliders = probed(page, width, profile)
        assert int(needed) <= int(seen) <= max(width, 500)
        assert sliders == ["inset(0px 0px 0px 25%)", "25 % before"] * 2
    assert '<html lang="en" class="js">' in dumped(page, 1280, profile), "its own policy lets its script run"


def test_the_table_sorts_by_numbers(tmp_path: Path) -> None:
    seconds = {"b": 10.0, "c": 9.5, "a": 0.25, "d": 0.3}
    jobs = [Job(Source.of(name), (), tmp_path / f"{name}.tif") for name in seconds]
    write_index(tmp_path, [Outcome(job, "made", seconds[job.planet.name]) for job in jobs])
    seen, needed, *names = probed(tmp_path / "index.html", 360, tmp_path / "profile")
    assert int(needed) <= int(seen)
    assert names == ["b", "c", "d", "a"], "clicked twice: the most seconds first"
