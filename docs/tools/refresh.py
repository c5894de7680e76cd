"""Write into the documents what their commands print: run after a change of what commands say.

    python docs/tools/refresh.py [PAGE ...]

A block of `console` holds commands; where a block of `text` follows it, that is replaced by what they print. Each block
starts in a folder with the sample scene under short names, as the pages say, but for pages whose blocks build on each
other. Notebooks are run as well, and keep what their cells print and show.
"""

from __future__ import annotations

import ast
import base64
import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import rasterio

from cloudfree.demo import EARLIER, SAR, SCENE, TRUTH, sample_folder

DOCS = Path(__file__).resolve().parents[1]
IN_ORDER = {"own_weights.md"}
"""Pages whose blocks build on each other, and need data that the sample lacks: they are left as they are."""

_SHOWN = re.compile(r"(```console\n(?P<commands>[^`]*)```\n\n)```text\n.*?```", re.DOTALL)


@contextlib.contextmanager
def workplace() -> Iterator[Path]:
    """A folder with the sample as `scene.tif`, `s1.tif`, `last_week.tif`, as an `inbox`, and as `sample_data`."""
    sample = sample_folder()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "sample_data").symlink_to(sample)
        for file, short in ((SCENE, "scene"), (EARLIER, "last_week")):
            shutil.copy(sample / file, folder / f"{short}.tif")
            shutil.copy(sample / file.replace("AnalyticMS_SR", "udm2"), folder / f"{short}_udm2.tif")
        _stack([sample / file for file in SAR], folder / "s1.tif")
        _benchmark(sample, folder)
        shutil.copytree(sample, folder / "inbox", ignore=lambda _, names: {n for n in names if not _arrives(n)})
        yield folder


def _benchmark(sample: Path, folder: Path) -> None:
    """The sample as `cloudfree evaluate` wants it."""
    (folder / "benchmark").mkdir()
    for file, name in ((SCENE, "cloudy"), (TRUTH, "clear"), (EARLIER, "reference")):
        shutil.copy(sample / file, folder / "benchmark" / f"sample_{name}.tif")
    shutil.copy(folder / "s1.tif", folder / "benchmark" / "sample_sar.tif")
    with rasterio.open(folder / "scene_udm2.tif") as udm2:
        mask = udm2.read([3, 4, 5, 6]).any(axis=0).astype("uint8")
        with rasterio.open(folder / "benchmark" / "sample_mask.tif", "w", **{**udm2.profile, "count": 1}) as dataset:
            dataset.write(mask, 1)


def _arrives(name: str) -> bool:
    return name in SAR or "_3B_" in name


def _stack(files: list[Path], target: Path) -> None:
    """Write rasters of one band as one file, its bands named VV and VH."""
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(rasterio.open(file)) for file in files]
        with rasterio.open(target, "w", **{**opened[0].profile, "count": len(opened)}) as dataset:
            for number, (source, name) in enumerate(zip(opened, ("VV", "VH"), strict=True), 1):
                dataset.write(source.read(1), number)
                dataset.set_band_description(number, name)


def printed(commands: str, folder: Path) -> str:
    """Return what a block of commands prints, on stdout and stderr. Raises where one fails."""
    script = "set -e\n" + re.sub(r"^\$ ", "", commands, flags=re.MULTILINE)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env={**os.environ, "PATH": path, "COLUMNS": "100"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{commands}{done.stdout}")
    return done.stdout.replace(f"{folder}/", "").replace(f"{sample_folder().parent}/", "").rstrip()


def refresh_page(page: Path) -> None:
    """Replace the printed text of a page."""

    def replaced(shown: re.Match[str]) -> str:
        with workplace() as folder:
            return f"{shown[1]}```text\n{printed(shown['commands'], folder)}\n```"

    text = page.read_text(encoding="utf-8")
    page.write_text(_SHOWN.sub(replaced, text), encoding="utf-8")


def run_cell(source: str, names: dict[str, Any]) -> tuple[str, Any]:
    """Run the code of a cell in a namespace, and return what it prints and the value of a last expression."""
    *body, last = ast.parse(source).body
    alone = isinstance(last, ast.Expr)
    stdout = io.StringIO()
    with contextlib.redirect_stdout(stdout):
        exec(compile(ast.Module(body if alone else [*body, last], []), "cell", "exec"), names)
        value = eval(compile(ast.Expression(last.value), "cell", "eval"), names) if isinstance(last, ast.Expr) else None
    return stdout.getvalue(), value


def refresh_notebook(path: Path) -> None:
    """Run a notebook in an empty folder, and store what its cells print and show."""
    notebook, names = json.loads(path.read_text(encoding="utf-8")), dict[str, Any]()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        for number, cell in enumerate(cells, 1):
            text, value = run_cell("".join(cell["source"]), names)
            cell["execution_count"], cell["outputs"] = number, list(_outputs(number, text, value))
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _outputs(number: int, text: str, value: Any) -> Iterator[dict[str, Any]]:
    if text:
        yield {"output_type": "stream", "name": "stdout", "text": text.splitlines(keepends=True)}
    if value is not None:
        picture = base64.b64encode(value._repr_png_()).decode()
        data = {"image/png": picture, "text/plain": [str(value)]}
        yield {"output_type": "execute_result", "execution_count": number, "metadata": {}, "data": data}


def main(names: list[str]) -> None:
    pages = [Path(name).resolve() for name in names] or [*DOCS.rglob("*.md"), *DOCS.rglob("*.ipynb")]
    for page in pages:
        if page.suffix == ".ipynb":
            refresh_notebook(page)
        elif page.name not in IN_ORDER:
            refresh_page(page)


if __name__ == "__main__":
    main(sys.argv[1:])
