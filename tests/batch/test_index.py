"""`batch --report`: the index has every scene, links that lead to files, thumbnails; nothing of a user is lost."""

import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import rasterio
from click.testing import Result
from page_support import Page, decoded
from support import scene_dn

from cloudfree.bands import Qa
from cloudfree.batch import index
from cloudfree.batch.jobs import Job
from cloudfree.batch.results import Outcome
from cloudfree.inputs.location.source import Source

Cli = Callable[..., Result]
Make = Callable[..., Path]

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

SIDE = 120
FAST = "--weights", "identity", "--find-clouds", "never", "--edge-limit", 0, "--report"
NAMES = "plain.tif", "<img src=x onerror=alert(1)>.tif", 'it\'s "100%" #1?.tif'


@pytest.fixture
def scenes(make_scene: Make, make_sar: Make, make_mask: Make, tmp_path: Path) -> Path:
    """A list of scenes with names that need care, and of one that is none."""
    cloud = np.zeros((SIDE, SIDE))
    cloud[40:90, 40:90] = 1
    sar, mask = make_sar().name, make_mask(cloud).name
    for number, name in enumerate(NAMES):
        make_scene(name=name, dn=scene_dn(SIDE, SIDE, seed=number))
    (tmp_path / "broken.tif").write_bytes(b"no raster at all")
    lines = [json.dumps({"planet": name, "sar": sar, "mask": mask}) for name in (*NAMES, "broken.tif")]
    (tmp_path / "list.jsonl").write_text("\n".join(lines))
    return tmp_path / "list.jsonl"


def test_the_index_leads_to_every_page_and_product(cli: Cli, scenes: Path, tmp_path: Path) -> None:
    out = tmp_path / "made"
    assert cli("batch", scenes, "-o", out, *FAST).exit_code == 1
    page = Page(out / "index.html")
    assert page.fetched == set()
    for name in NAMES:
        assert name in page.text("th")
        assert Page(out / f"{name.removesuffix('.tif')}_cloudfree.html").text("h1") == name
    links = [out / unquote(element["href"]) for element in page.all("a")]
    assert len(links) == 2 * len(NAMES)
    assert all(link.is_file() for link in links)
    assert [decoded(element["src"]).shape for element in page.all("img")] == [(3, 96, 96)] * len(NAMES)
    assert page.texts["td"][-3].split() == ["failed"]
    assert "cannot be read as a raster" in page.text("th")
    assert str(tmp_path) not in page.source
    shares = [text for text in page.texts["td"] if text.endswith(" %")]
    assert len(shares) == len(NAMES)
    assert cli("batch", scenes, "-o", out, *FAST).exit_code == 1
    again = Page(out / "index.html")
    assert "3 skipped, 1 failed" in again.text("p")
    assert [text for text in again.texts["td"] if text.endswith(" %")] == shares, "read from the pages of the scenes"


def test_of_many_scenes_there_are_no_thumbnails(
    cli: Cli, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "MOST_THUMBNAILS", 3)
    cli("batch", scenes, "-o", tmp_path / "made", *FAST)
    page = Page(tmp_path / "made/index.html")
    assert not page.all("img")
    assert "there are no thumbnails" in page.text("p")
    pixels = {"pixels": {qa.name.lower(): 1 for qa in Qa}}
    jobs = [Job(Source.of(f"scene {n}"), (), tmp_path / f"{n}.tif") for n in range(10_000)]
    index.write_index(tmp_path, [Outcome(job, "made", 1.0, details=pixels) for job in jobs])
    assert (tmp_path / "index.html").stat().st_size < 6e6


def test_an_index_that_is_not_ours_is_kept(cli: Cli, scenes: Path, tmp_path: Path) -> None:
    out = tmp_path / "made"
    out.mkdir()
    (out / "index.html").write_text("precious")
    done = cli("batch", scenes, "-o", out, *FAST)
    assert done.exit_code == 1
    assert "index.html was not made by cloudfree and is kept" in done.stderr
    assert [path.name for path in out.iterdir()] == ["index.html"]
    cli("batch", scenes, "-o", out, *FAST, "--overwrite")
    assert Page(out / "index.html").all("table")


def test_a_page_of_a_users_beside_a_product_is_kept_and_one_of_another_product_made_anew(
    cli: Cli, scenes: Path, tmp_path: Path
) -> None:
    out = tmp_path / "made"
    batch = "batch", scenes, "-o", out, *FAST
    cli(*batch)
    mine, anothers = (out / f"{Path(name).stem}_cloudfree.html" for name in NAMES[:2])
    mine.write_text("precious")
    with rasterio.open(anothers.with_suffix(".tif")) as product:
        identity = product.tags()["CLOUDFREE_IDENTITY"]
    anothers.write_text(anothers.read_text().replace(identity, "another"))
    done = cli(*batch)
    assert f"{mine.name} is no product of cloudfree" in done.stderr
    assert mine.read_text() == "precious"
    assert identity in anothers.read_text()
    outcomes = json.loads((out / "results.json").read_text())
    assert [outcome["status"] for outcome in outcomes] == ["failed", "made", "skipped", "failed"]


def test_a_scene_whose_page_would_be_the_index_is_refused(cli: Cli, scenes: Path, tmp_path: Path) -> None:
    line = json.loads(scenes.read_text().splitlines()[0]) | {"output": "index.tif"}
    scenes.write_text(json.dumps(line))
    done = cli("batch", scenes, "-o", tmp_path / "made", *FAST)
    assert done.exit_code == 1
    assert "would be a file of one scene and of the whole batch" in done.stderr
