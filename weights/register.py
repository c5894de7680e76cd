"""Enter a trained weights file in the registry, with golden tensors; one that removes clouds becomes the default.

    python weights/register.py trained.safetensors u-net-small --scores '{"name": 30.1}'
    python weights/register.py other.safetensors align-cr-small --beside

Architecture, training data and recipe are taken from the file; scores are given, as measured.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from cloudfree.network.models import CloudDetector, Seen
from cloudfree.network.weights import GOLDEN_OUTPUT, golden_output, load_network, sha256_of
from cloudfree.simulate.clouds import add_clouds, cloud_layer
from cloudfree.simulate.landscape import landscape

HERE = Path(__file__).resolve().parent
_SHAPE = 40, 56  # no multiple of anything


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trained", type=Path)
    parser.add_argument("name")
    parser.add_argument("--scores", type=json.loads, default={})
    parser.add_argument("--beside", action="store_true", help="leave the default as it is")
    parser.add_argument("--recipe", help="instead of the file's own, where several commands made it")
    parser.add_argument("--trained-on", help="instead of the file's own words")
    arguments = parser.parse_args()
    target = HERE / f"{arguments.name}.safetensors"
    registry = HERE / "registry.json"
    entries = json.loads(registry.read_text(encoding="utf-8"))["weights"]
    others = [each for each in entries if each["name"] != arguments.name]
    write_registry(registry, others)  # what stood under the name would be missed by its hash
    if arguments.trained.resolve() != target:
        shutil.copy(arguments.trained, target)
    write_golden(target)
    entry = entry_of(target, arguments)
    if entry["default"]:
        write_registry(registry, [entry, *(each | {"default": False} for each in others)])
    else:
        write_registry(registry, [*others, entry])


def write_registry(path: Path, entries: list[dict[str, object]]) -> None:
    path.write_text(json.dumps({"weights": entries}, indent=2) + "\n", encoding="utf-8", newline="\n")


def entry_of(path: Path, told: argparse.Namespace) -> dict[str, object]:
    network = load_network(path)
    info = network.weights_info
    assert info is not None
    return {
        "name": told.name,
        "file": path.name,
        "sha256": sha256_of(path),
        "size_bytes": path.stat().st_size,
        "architecture": info.architecture,
        "licence": "Apache-2.0",
        "source": "trained for cloudfree",
        "trained_on": told.trained_on or ", ".join(info.provenance["trained_on"]),
        "recipe": told.recipe or info.provenance["recipe"],
        "scores": told.scores,
        "default": not (told.beside or isinstance(network, CloudDetector)),
    }


def write_golden(path: Path) -> None:
    """A made-up clouded place through the weights, on this machine, in float32."""
    rng = np.random.default_rng(0)
    land = landscape(rng, *_SHAPE)
    layer = cloud_layer(rng, *_SHAPE, cover=0.5)
    clear, cloudy, sar_db = (
        torch.from_numpy(image)[None] for image in (land.reflectance, add_clouds(land.reflectance, layer), land.sar_db)
    )
    inputs, network = {"reflectance": cloudy, "sar_db": sar_db}, load_network(path)
    if isinstance(network, CloudDetector):
        inputs |= {"valid": torch.ones(1, *_SHAPE, dtype=torch.bool), "other": clear}
    elif network.planes:
        inputs = _seen(clear, cloudy, sar_db, torch.from_numpy(layer.mask)[None, None].float())._asdict()
    outputs = {GOLDEN_OUTPUT: golden_output(network, inputs).contiguous()}
    save_file({**inputs, **outputs}, path.with_suffix(".golden.safetensors"))


def _seen(clear: Tensor, cloudy: Tensor, sar_db: Tensor, hidden: Tensor) -> Seen:
    """As of a run whose model knows the place at a quarter of the resolution, and half of what shows through."""
    ground = F.interpolate(F.avg_pool2d(clear, 4), size=clear.shape[2:], mode="bilinear")
    through = torch.lerp(ground, clear, 0.5 * hidden)
    return Seen(cloudy, ground, through, torch.full_like(ground, 0.03), 0.5 * hidden, hidden, sar_db)


if __name__ == "__main__":
    main()
