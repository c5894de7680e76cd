"""A batch from Python: the plan without anything made, the products, the outcomes, and one call for each."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from support import scene_dn

from cloudfree import batch
from cloudfree.errors import CloudfreeError, InputError, OutputError
from cloudfree.product import kinds

Make = Callable[..., Path]

SIDE = 96
FAST = {"weights": "identity", "find_clouds": "never", "edge_limit_m": 0.0}


@pytest.fixture
def scenes(make_scene: Make, make_sar: Make, make_mask: Make, tmp_path: Path) -> Path:
    """A list of three scenes, the second of which is no raster."""
    sar, mask = make_sar(), make_mask(np.pad(np.ones((30, 30)), 33))
    names = [make_scene(name=f"scene{n}.tif", dn=scene_dn(SIDE, SIDE, seed=n)).name for n in range(3)]
    (tmp_path / names[1]).write_bytes(b"no raster at all")
    lines = [f"{name},{sar.name},{mask.name}" for name in names]
    (tmp_path / "list.csv").write_text("\n".join(["planet,sar,mask", *lines]) + "\n")
    return tmp_path / "list.csv"


def test_one_call_makes_all_and_returns_what_became_of_each(scenes: Path, tmp_path: Path) -> None:
    folder, seen = tmp_path / "made", []
    settings = batch.Settings({**FAST, "buffer_m": 6.0}, beside=(kinds.QA, kinds.REPORT, kinds.STAC))
    outcomes = batch.run(str(scenes), str(folder), settings, done=seen.append)
    assert [outcome.status for outcome in outcomes] == ["made", "failed", "made"]
    assert seen == outcomes
    assert "cannot be read as a raster" in outcomes[1].error
    assert json.loads((folder / "results.json").read_text()) == [outcome.as_json() for outcome in outcomes]
    for outcome in (outcomes[0], outcomes[2]):
        with rasterio.open(kinds.QA.beside(outcome.job.output)) as dataset:
            assert sum(outcome.details["pixels"].values()) == dataset.width * dataset.height
    assert {"index.html", "collection.json"} <= {path.name for path in folder.iterdir()}
    again = batch.run(scenes, folder, settings)
    assert [outcome.status for outcome in again] == ["skipped", "failed", "skipped"]


def test_a_plan_makes_nothing(scenes: Path, tmp_path: Path) -> None:
    plan = batch.make_plan(scenes, tmp_path / "made", batch.Settings(FAST))
    assert [job.planet.name for job in plan.jobs] == ["scene0.tif", "scene1.tif", "scene2.tif"]
    assert plan.product_bytes > 0
    assert json.loads(json.dumps(plan.describe()))["memory_gb"] > 0.5
    assert not (tmp_path / "made").exists()
    assert len(batch.execute(plan)) == 3


def test_failures_end_it_where_that_is_wanted(scenes: Path, tmp_path: Path) -> None:
    outcomes = batch.run(scenes, tmp_path / "made", batch.Settings(FAST, max_failures=0))
    assert [outcome.status for outcome in outcomes] == ["made", "failed", "not begun"]


def test_what_cannot_be_is_refused_before_anything_is_made(scenes: Path, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="bufer_m"):
        batch.run(scenes, tmp_path / "made", batch.Settings({"bufer_m": 6.0}))
    with pytest.raises(CloudfreeError, match="workers is 0; one at least"):
        batch.run(scenes, tmp_path / "made", workers=0)
    with pytest.raises(InputError, match="cannot be read as a CSV"):
        batch.run(tmp_path / "none.csv", tmp_path / "made")
    scenes.write_text(scenes.read_text().replace("scene2.tif", "scene0.tif"))
    with pytest.raises(OutputError, match="would be the product of 2 scenes"):
        batch.run(scenes, tmp_path / "made")
    assert not (tmp_path / "made").exists()


@pytest.mark.slow
def test_workers_here_make_the_same(scenes: Path, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom cloudfree import batch\n"
        f"if __name__ == '__main__':\n    settings = batch.Settings({FAST!r})\n"
        f"    outcomes = batch.run({str(scenes)!r}, {str(tmp_path / 'two')!r}, settings, workers=2)\n"
        "    print([outcome.status for outcome in outcomes])\n"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, timeout=240)
    assert done.stdout.strip() == "['made', 'failed', 'made']", done.stderr
    batch.run(scenes, tmp_path / "one", batch.Settings(FAST))
    for path in (tmp_path / "one").glob("*.tif"):
        assert (tmp_path / "two" / path.name).read_bytes() == path.read_bytes()
