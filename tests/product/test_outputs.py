"""Names of outputs as users write them: each refused in one line, followed, or right."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import Result
from rio_cogeo.cogeo import cog_validate
from support import scene_dn

import cloudfree
from cloudfree.errors import CloudfreeError
from cloudfree.product.kinds import BESIDE, OUTPUT, UNCERTAINTY

Cli = Callable[..., Result]
Make = Callable[..., Path]

SIDE = 96
QUICK = "--weights", "identity", "--edge-limit", 0, "--find-clouds", "never"


@pytest.fixture
def run(
    cli: Cli, make_scene: Make, make_sar: Make, make_mask: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    monkeypatch.chdir(tmp_path)
    mask = make_mask(np.pad(np.ones((20, 20)), 38))
    files = "--planet", make_scene(dn=scene_dn(SIDE, SIDE)), "--sar", make_sar(), "--mask", mask
    return lambda *options: cli("run", *files, *QUICK, *options)


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("-", "stands for standard"),
        ("sub/", "is a folder"),
        ("sub/.", "is a folder"),
        ("..", "is a folder"),
        ("s3://bucket/x.tif", "begins an address"),
        ("file:///tmp/x.tif", "begins an address"),
        ("/vsis3/bucket/x.tif", "begins an address of GDAL's"),
        ("/vsimem/x.tif", "begins an address of GDAL's"),
        ("loop.tif", "a link to nothing"),
        ("dangling.tif", "a link to nothing"),
        ("linked", "is a folder"),
        ("none/x.tif", "does not exist"),
        ("n" * 252 + ".tif", "has a name of 256 bytes"),
        *((f"x.{ending}", "another format") for ending in ("jp2", "png", "JPG", "pdf", "nc", "tif.gz", "zip", "vrt")),
    ],
)
@pytest.mark.parametrize("option", ["-o", "--qa"])
def test_what_is_no_geotiff_here_is_refused(
    run: Callable[..., Result], tmp_path: Path, name: str, message: str, option: str
) -> None:
    (tmp_path / "loop.tif").symlink_to("loop.tif")
    (tmp_path / "dangling.tif").symlink_to("nothing")
    (tmp_path / "linked").symlink_to(tmp_path)
    before = names_in(tmp_path)
    done = run(*(("-o", name) if option == "-o" else ("-o", "o.tif", option, name)), "--overwrite")
    assert done.exit_code != 0
    assert message in done.stderr
    assert done.stderr.strip().count("\n") == 0, done.stderr
    assert names_in(tmp_path) == before


@pytest.mark.parametrize(
    ("option", "name"),
    [
        ("--report", "x.pdf"),
        ("--report", "x.tif"),
        ("--quicklook", "x.jpg"),
        ("--stac", "x.xml"),
        ("--write-mask", "x.png"),
    ],
)
def test_each_file_beside_a_product_has_a_format(
    run: Callable[..., Result], tmp_path: Path, option: str, name: str
) -> None:
    done = run("-o", "o.tif", option, name)
    assert f"which is another format; {option} is written as" in done.stderr
    assert not {"o.tif", name} & names_in(tmp_path)


def test_python_callers_hear_the_same(make_scene: Make, make_sar: Make, tmp_path: Path) -> None:
    for name, message in {"sub/": "is a folder", "-": "standard", "x.jp2": "another format"}.items():
        output = name if name in "sub/-" else str(tmp_path / name)
        with pytest.raises(CloudfreeError, match=message):
            cloudfree.run(make_scene(), make_sar(), output, weights="identity")


def test_any_other_name_is_right(run: Callable[..., Result], tmp_path: Path) -> None:
    for name in ("out", "scene.2022", "a.TIFF", "./-", "a b.tif"):
        assert run("-o", name).exit_code == 0
        assert cog_validate(tmp_path / name, quiet=True)[0]


def test_a_link_to_a_file_stays_one(run: Callable[..., Result], tmp_path: Path) -> None:
    """And the file that it leads to is the product; without --overwrite that is kept."""
    real, link = tmp_path / "store" / "x.tif", tmp_path / "latest.tif"
    real.parent.mkdir()
    real.write_text("old")
    link.symlink_to(Path("store") / "x.tif")
    refused = run("-o", link)
    assert "exists and is kept" in refused.stderr
    assert real.read_text() == "old"
    assert run("-o", link, "--overwrite").exit_code == 0
    assert link.is_symlink()
    assert cog_validate(real, quiet=True)[0]
    assert names_in(real.parent) == {"x.tif"}
    done = run("-o", link, "--qa", real, "--overwrite")
    assert "named for two outputs" in done.stderr


@pytest.mark.parametrize("letter", ["n", "\u00e9"])
def test_a_name_as_long_as_file_systems_allow(run: Callable[..., Result], tmp_path: Path, letter: str) -> None:
    beside = [kind for kind in BESIDE if kind != UNCERTAINTY]
    names = {}
    for number, kind in enumerate((OUTPUT, *beside)):
        ending = f"{number}{Path(kind.suffix).suffix}"
        names[kind] = letter * ((255 - len(ending)) // len(letter.encode())) + ending
        assert 251 <= len(names[kind].encode()) <= 255
    words = [word for kind in beside for word in (f"--{kind.field.replace('_', '-')}", names[kind])]
    for again in ((), ("--overwrite",)):
        done = run("-o", names[OUTPUT], *words, *again)
        assert done.exit_code == 0, done.output
    assert set(names.values()) <= names_in(tmp_path)
    assert not [name for name in names_in(tmp_path) if name.startswith(".")]
    with rasterio.open(tmp_path / names[OUTPUT]) as product:
        assert product.count == 4


def test_align_refuses_the_same(cli: Cli, make_scene: Make, make_sar: Make, tmp_path: Path) -> None:
    files = "align", "--planet", make_scene(dn=scene_dn(SIDE, SIDE)), "--sar", make_sar()
    for name, message in {
        "-": "standard",
        f"{tmp_path}/s/": "is a folder",
        f"{tmp_path}/x.png": "another format",
    }.items():
        done = cli(*files, "-o", name)
        assert message in done.stderr
    done = cli(*files, "-o", tmp_path / ("n" * 247 + ".tif"), "--quicklook", tmp_path / ("n" * 247 + ".png"))
    assert done.exit_code == 0, done.output


def test_nothing_is_written_that_would_be_read_with_an_input(
    cli: Cli, make_scene: Make, make_sar: Make, tmp_path: Path
) -> None:
    scene = make_scene(dn=scene_dn(SIDE, SIDE))
    files = "align", "--planet", scene, "--sar", make_sar()
    for ending in (".tif.ovr", ".tif.msk", ".tfw", ".TIF.OVR"):
        done = cli(*files, "-o", scene.with_suffix("").with_name(scene.stem + ending))
        assert done.exit_code == 1
        assert f"would be read with {scene.name}" in done.stderr
    done = cli(*files, "-o", scene / "x.tif")
    assert "is no folder" in done.stderr
