"""The wheel alone runs the demo: weights and sample travel in it."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_the_wheel_runs_the_demo_outside_the_checkout(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(CHECKOUT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    installed = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(installed)
    assert not list((installed / "cloudfree" / "_sample_data").glob("*.py")), "it is made in the checkout"
    environment = os.environ | {"PYTHONPATH": str(installed)}
    where = "import cloudfree; print(cloudfree.__file__)"
    location = subprocess.run(
        [sys.executable, "-c", where], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert location.stdout.startswith(str(installed))
    demo = [sys.executable, "-m", "cloudfree", "demo", "-o", "out"]
    done = subprocess.run(demo, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "PSNR" in done.stdout
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        *("cloudfree.tif", "qa.tif", "quicklook.png", "report.html")
    ]
