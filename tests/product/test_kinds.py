"""The table of what stands beside a product is what commands, answers and catalogues go by."""

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from support import scene_dn

from cloudfree.cli import main
from cloudfree.plan import Options
from cloudfree.product.kinds import BESIDE, KINDS, OUTPUT, STAC

SIDE = 96


def test_each_kind_is_a_field_of_options_and_has_a_name_of_its_own() -> None:
    assert {kind.field for kind in KINDS} <= {field.name for field in fields(Options)}
    for names in ([kind.field for kind in KINDS], [kind.suffix for kind in KINDS]):
        assert len(set(names)) == len(names)
    assert OUTPUT.beside(Path("a/b.tiff")) == Path("a/b.tif")
    assert STAC.beside(Path("a/b.c.tif")) == Path("a/b.c.json")


@pytest.mark.parametrize("command", ["run", "batch"])
def test_each_kind_is_an_option(command: str) -> None:
    options = {parameter.name: parameter for parameter in main.commands[command].params}
    for kind in BESIDE:
        assert options[kind.field].opts == [f"--{kind.field.replace('_', '-')}"]
        assert options[kind.field].is_flag == (command == "batch")


def test_each_kind_is_in_json_and_in_the_stac_item(
    cli: Callable[..., Result],
    make_scene: Callable[..., Path],
    make_sar: Callable[..., Path],
    make_mask: Callable[..., Path],
    tmp_path: Path,
) -> None:
    mask = make_mask(np.pad(np.ones((30, 30)), 33))
    files = "--planet", make_scene(dn=scene_dn(SIDE, SIDE)), "--sar", make_sar(), "--mask", mask
    product = tmp_path / "product.tif"
    beside = {kind: kind.beside(product) for kind in BESIDE}
    words = [word for kind, path in beside.items() for word in (f"--{kind.field.replace('_', '-')}", path)]
    done = cli("run", *files, "-o", product, *words, "--json")
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    answer["uncertainty"] = answer["uncertainty"]["file"]
    assert {kind.field: answer[kind.field] for kind in KINDS} == {
        kind.field: str(path) for kind, path in {OUTPUT: product, **beside}.items()
    }
    assets = json.loads(beside[STAC].read_text())["assets"]
    assert {asset["href"]: asset["type"] for asset in assets.values()} == {
        f"./{path.name}": kind.media_type for kind, path in {OUTPUT: product, **beside}.items() if kind != STAC
    }
    assert set(assets) == {kind.asset for kind in KINDS} - {None}
