"""`batch --stac`: one collection of all products, valid, and linked both ways, whatever was made anew."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from stac_support import read_valid, target
from support import scene_dn

from cloudfree.batch.collection import _around

Cli = Callable[..., Result]
Make = Callable[..., Path]

SIDE = 96
FAST = "--weights", "identity", "--find-clouds", "never", "--edge-limit", 0
DAYS = "20240606", "20240615", "20240627"


@pytest.fixture
def scenes(make_scene: Make, make_sar: Make, make_mask: Make, tmp_path: Path) -> Path:
    """A list of three scenes with one radar image and one mask; a product goes into a folder of its own."""
    sar, mask = make_sar(name="S1A_IW_20240601.tif"), make_mask(np.pad(np.ones((30, 30)), 33))
    lines = []
    for number, day in enumerate(DAYS):
        name = f"{day}_101530_84_2481_3B_AnalyticMS_SR.tif"
        make_scene(SIDE, SIDE, name=name, dn=scene_dn(SIDE, SIDE, seed=number))
        lines.append(f"{name},{sar.name},{mask.name},{'deep er/third.tif' if number == 2 else ''}")
    (tmp_path / "list.csv").write_text("\n".join(["planet,sar,mask,output", *lines]) + "\n")
    return tmp_path / "list.csv"


def statuses(folder: Path) -> list[str]:
    return [outcome["status"] for outcome in json.loads((folder / "results.json").read_text())]


def linked_items(collection: Path) -> list[dict[str, Any]]:
    """The items of a valid collection, valid too, each of which leads back to it."""
    whole = read_valid(collection)
    items = []
    for link in whole["links"]:
        if link["rel"] != "item":
            continue
        path = target(collection, link["href"])
        item = read_valid(path)
        assert item["collection"] == whole["id"]
        others = [other for other in item["links"] if other["rel"] != "derived_from"]
        back = {other["rel"]: target(path, other["href"]) for other in others}
        assert {rel: path.resolve() for rel, path in back.items()} == dict.fromkeys(
            ("collection", "parent", "root"), collection.resolve()
        )
        items.append(item)
    return items


def test_a_batch_has_a_collection(cli: Cli, scenes: Path, tmp_path: Path) -> None:
    out = tmp_path / "made of all"
    done = cli("batch", scenes, "-o", out, *FAST, "--stac", "--qa")
    assert done.exit_code == 0, done.output
    collection = read_valid(out / "collection.json")
    items = linked_items(out / "collection.json")
    assert [item["id"] for item in items][2] == "third"
    assert len(items) == 3
    assert collection["id"] == "made of all"
    assert collection["extent"]["temporal"]["interval"] == [["2024-06-06T10:15:30Z", "2024-06-27T10:15:30Z"]]
    (box,) = collection["extent"]["spatial"]["bbox"]
    assert box == items[0]["bbox"]
    assert collection["summaries"]["proj:code"] == ["EPSG:32633"]
    assert collection["summaries"]["platform"] == ["2481"]
    assert collection["summaries"]["eo:cloud_cover"] == {"minimum": 0, "maximum": 0}
    assert set(collection["item_assets"]) == {"product", "qa"}
    assert [band["name"] for band in collection["item_assets"]["product"]["bands"]] == ["blue", "green", "red", "nir"]
    assert str(tmp_path) not in json.dumps(collection)
    assert not [path for path in out.rglob("*") if path.name.startswith(".")]


def test_what_is_skipped_stays_in_it_as_it_was(cli: Cli, scenes: Path, tmp_path: Path) -> None:
    out = tmp_path / "made"
    batch = "batch", scenes, "-o", out, *FAST, "--stac"
    assert cli(*batch).exit_code == 0
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in out.rglob("*_SR_cloudfree.json")}
    whole = (out / "collection.json").read_bytes()
    assert cli(*batch).exit_code == 0
    outcomes = json.loads((out / "results.json").read_text())
    assert [outcome["status"] for outcome in outcomes] == ["skipped"] * 3
    assert len(before) == 2
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in before} == before
    assert (out / "collection.json").read_bytes() == whole
    assert len(linked_items(out / "collection.json")) == 3


def test_a_scene_that_fails_is_not_in_it(cli: Cli, scenes: Path, tmp_path: Path) -> None:
    (scenes.parent / f"{DAYS[1]}_101530_84_2481_3B_AnalyticMS_SR.tif").write_bytes(b"no raster at all")
    assert cli("batch", scenes, "-o", tmp_path / "made", *FAST, "--stac").exit_code == 1
    items = linked_items(tmp_path / "made" / "collection.json")
    assert [item["properties"]["datetime"][5:10] for item in items] == ["06-06", "06-27"]


def test_without_a_product_there_is_none(cli: Cli, scenes: Path, tmp_path: Path) -> None:
    (scenes.parent / "mask.tif").write_bytes(b"no raster at all")
    done = cli("batch", scenes, "-o", tmp_path / "made", *FAST, "--stac")
    assert done.exit_code == 1
    assert "no scene has a STAC item" in done.stderr
    assert not (tmp_path / "made" / "collection.json").exists()


def test_a_batch_without_stac_has_none(cli: Cli, scenes: Path, tmp_path: Path) -> None:
    assert cli("batch", scenes, "-o", tmp_path / "made", *FAST).exit_code == 0
    assert not list((tmp_path / "made").rglob("collection.json"))


def test_a_collection_that_is_not_ours_is_kept(cli: Cli, scenes: Path, tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    mine = tmp_path / "made" / "collection.json"
    mine.write_text('{"type": "Collection", "description": "precious"}')
    done = cli("batch", scenes, "-o", mine.parent, *FAST, "--stac")
    assert done.exit_code == 1
    assert "was not made by cloudfree" in done.stderr
    assert "precious" in mine.read_text()
    assert list(mine.parent.iterdir()) == [mine], "refused before anything is made"
    assert cli("batch", scenes, "-o", mine.parent, *FAST, "--stac", "--overwrite").exit_code == 0
    assert len(linked_items(mine)) == 3


@pytest.mark.parametrize("name", ["collection.tif", "results.tif"])
def test_no_product_may_be_called_like_it_or_the_results(cli: Cli, scenes: Path, tmp_path: Path, name: str) -> None:
    scenes.write_text(scenes.read_text().replace("deep er/third.tif", name))
    done = cli("batch", scenes, "-o", tmp_path / "made", *FAST, "--stac")
    assert done.exit_code == 1
    assert "would be a file of one scene and of the whole batch" in done.stderr
    assert not (tmp_path / "made").exists()


def test_a_spoiled_item_costs_no_other(cli: Cli, scenes: Path, tmp_path: Path) -> None:
    batch = "batch", scenes, "-o", tmp_path / "made", *FAST, "--stac"
    assert cli(*batch).exit_code == 0
    spoiled = next((tmp_path / "made").glob(f"{DAYS[0]}*.json"))
    whole = spoiled.read_text()
    spoiled.write_text(whole[:-10].replace(json.loads(whole)["properties"]["cloudfree:identity"], "of another"))
    assert cli(*batch).exit_code == 0
    assert statuses(spoiled.parent) == ["made", "skipped", "skipped"], "an item of ours is made anew"
    assert len(linked_items(spoiled.parent / "collection.json")) == 3


@pytest.mark.parametrize("content", ['{"mine": 1}', '{"type": "Feature", "properties": null}'])
def test_a_file_of_a_users_where_an_item_would_be_is_kept(cli: Cli, scenes: Path, tmp_path: Path, content: str) -> None:
    batch = "batch", scenes, "-o", tmp_path / "made", *FAST
    assert cli(*batch).exit_code == 0
    product = next((tmp_path / "made").glob(f"{DAYS[0]}*.tif"))
    mine = product.with_suffix(".json")
    mine.write_text(content)
    done = cli(*batch, "--stac")
    assert done.exit_code == 1
    assert statuses(mine.parent) == ["failed", "made", "made"]
    assert f"{mine.name} is no product of cloudfree" in done.stderr
    assert mine.read_text() == content
    assert len(linked_items(mine.parent / "collection.json")) == 2


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        ([[1, 0, 2, 1], [5, -1, 6, 3]], [1, -1, 6, 3]),
        ([[179, 0, -179, 1]], [179, 0, -179, 1]),
        ([[178, 0, 179, 1], [-179, 0, -178, 2]], [178, 0, -178, 2]),
        ([[-1, 0, 1, 1], [10, 0, 11, 1], [-20, 0, -19, 1]], [-20, 0, 11, 1]),
        ([[170, 0, 180, 1], [160, 0, 171, 1]], [160, 0, 180, 1]),
        ([[-180, 0, -170, 1]], [-180, 0, -170, 1]),
        ([[-180, -80, 180, 80]], [-180, -80, 180, 80]),
        ([[-180, 0, 0, 1], [0, 0, 180, 1]], [-180, 0, 180, 1]),
        ([[0, 0, 300 - 360, 1], [290 - 360, 0, 10, 1]], [-180, 0, 180, 1]),
    ],
)
def test_boxes_around_boxes_are_the_narrowest(boxes: list[list[float]], expected: list[float]) -> None:
    assert _around(boxes) == pytest.approx(expected)
