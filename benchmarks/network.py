"""How near a network runs to what the machine can do: rates, and the share of each stage.

    python benchmarks/network.py [--weights NAME | --published] [--tile 256 512] [--precision fp32 bf16] [--device cpu]

The floor is the rate of a 96-channel 3x3 convolution on a map of half the tile's side, as the network has them; that of
a large matrix product stands beside it. FLOP are those of convolutions and matrix products, two a multiply-add.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from unittest import mock

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from cloudfree import process
from cloudfree.network import kernels
from cloudfree.network.device import resolve_device
from cloudfree.network.models import AlignCR, CloudRemovalModel, Seen
from cloudfree.network.weights import load_model
from cloudfree.reconstruct.predictor import Predictor

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# The stages, by the modules whose calls they are. Attention lies within a dense block, and is taken off that.
_STAGES = {
    "shallow": r"SFE_\w+",
    "align": r"SFAlign\.\d+",
    "attention": r"RDBs\.\d+\.SwinTransformerBlock",
    "dense": r"RDBs\.\d+",
    "dynamic filter, fusion": r"(DF|sar_fuse_1x1conv|opt_distribute_1x1conv)\.\d+",
    "tail": r"GFF|UPNet",
    "U-Net, fine": r"fine|fine_again|answer",
    "U-Net, coarser": r"middle|coarse|middle_again",
}


def best_seconds(run: Callable[[], object], device: torch.device, repeats: int) -> float:
    """The shortest of several runs, after one that does not count."""
    return min(_seconds(run, device) for _ in range(repeats + 1))


def _seconds(run: Callable[[], object], device: torch.device) -> float:
    _wait(device)
    started = time.perf_counter()
    run()
    _wait(device)
    return time.perf_counter() - started


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def matmul_rate(device: torch.device, dtype: torch.dtype, repeats: int) -> float:
    """FLOP a second of a large square product."""
    side = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    return 2 * side**3 / best_seconds(lambda: a @ b, device, repeats)


def convolution_rate(device: torch.device, dtype: torch.dtype, tile: int, repeats: int) -> float:
    """FLOP a second of a 3x3 convolution, channels-last, on the map that a tile has within the network."""
    channels, side, batch = 96, tile // 2, 16 if device.type == "cuda" else 1
    x = torch.randn(batch, channels, side, side, device=device).to(dtype, memory_format=torch.channels_last)
    weight = torch.randn(channels, channels, 3, 3, device=device).to(dtype, memory_format=torch.channels_last)
    flop = 2 * batch * side * side * channels * channels * 9
    return flop / best_seconds(lambda: F.conv2d(x, weight, padding=1), device, 4 * repeats)


def inputs_of(model: CloudRemovalModel, batch: int, tile: int, device: torch.device) -> tuple[torch.Tensor, ...]:
    """Noise of what a network takes."""
    noise = lambda channels: torch.rand(batch, channels, tile, tile, device=device)  # noqa: E731
    reflectance, sar_db = noise(4), -15 * noise(2)
    if not model.planes:
        return reflectance, sar_db
    return Seen(reflectance, noise(4), noise(4), noise(4), noise(1), noise(1), sar_db)


def flop_by_stage(model: CloudRemovalModel, inputs: tuple[torch.Tensor, ...]) -> dict[str, float]:
    """By the plain kernels, whatever quicker ones leave out."""
    plain = mock.patch.dict(os.environ, {kernels.VARIABLE: "reference"})
    with plain, FlopCounterMode(display=False, depth=8) as counter, torch.inference_mode():
        model(*inputs)
    root = type(model).__name__
    names = dict(counter.get_flop_counts())
    stages: dict[str, float] = defaultdict(float)
    for name, _ in model.named_modules():
        if stage := _stage_begun(name):
            stages[stage] += sum(names.get(f"{root}.{name}", {}).values())
    if "dense" in stages:
        stages["dense"] -= stages["attention"]
    stages["whole"] = counter.get_total_flops()
    return stages


def _stage_begun(name: str) -> str | None:
    """The stage that a module of this name is the call of."""
    return next((stage for stage, pattern in _STAGES.items() if re.fullmatch(pattern, name)), None)


@contextmanager
def stage_clock(model: CloudRemovalModel, device: torch.device) -> Iterator[dict[str, float]]:
    """Seconds by stage of what the model runs meanwhile."""
    seconds: dict[str, float] = defaultdict(float)
    begun: dict[str, float] = {}
    hooks = []

    def start(name: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            _wait(device)
            begun[name] = time.perf_counter()

        return hook

    def stop(name: str, stage: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            _wait(device)
            seconds[stage] += time.perf_counter() - begun[name]

        return hook

    for name, module in model.named_modules():
        if stage := _stage_begun(name):
            hooks += [module.register_forward_pre_hook(start(name)), module.register_forward_hook(stop(name, stage))]
    try:
        yield seconds
    finally:
        for hook in hooks:
            hook.remove()


def measure(model: CloudRemovalModel, device: torch.device, precision: str, tile: int, repeats: int) -> list[str]:
    """Rows of the table for one precision and tile."""
    batch = 8 if device.type == "cuda" else 1
    inputs = inputs_of(model, batch, tile, device)
    predictor = Predictor(model, device, precision, batch)  # type: ignore[arg-type]
    floors = [convolution_rate(device, _DTYPES[precision], tile, repeats)]
    product = matmul_rate(device, _DTYPES[precision], repeats)
    flop = flop_by_stage(predictor._model, inputs)
    whole = best_seconds(lambda: predictor(*inputs), device, repeats)
    floors.append(convolution_rate(device, _DTYPES[precision], tile, repeats))
    floor = max(floors)  # before and after: a machine shared with others has slower moments
    with stage_clock(predictor._model, device) as seconds:
        for _ in range(repeats):
            predictor(*inputs)
    seconds = {stage: total / repeats for stage, total in seconds.items()}
    if "dense" in seconds:
        seconds["dense"] -= seconds["attention"]
    rows = [
        f"| {precision}, tile {tile} | whole | {flop['whole'] / 1e9:.1f} | {1e3 * whole:.0f} | 100 % | "
        f"**{flop['whole'] / whole / floor:.0%}** | {flop['whole'] / whole / product:.0%} | "
        f"{batch * tile * tile / whole / 1e3:.0f} |"
    ]
    for stage in _STAGES:
        if stage in seconds:
            share = seconds[stage] / sum(seconds.values())
            rate = flop[stage] / seconds[stage]
            rows.append(
                f"| | {stage} | {flop[stage] / 1e9:.1f} | {1e3 * seconds[stage]:.0f} | {share:.0%} | "
                f"{rate / floor:.0%} | {rate / product:.0%} | |"
            )
    before, after = (f"{rate / 1e9:.0f}" for rate in floors)
    print(
        f"{precision}, tile {tile}: convolution {before} GFLOP/s before and {after} after, "
        f"matrix product {product / 1e9:.0f} GFLOP/s"
    )
    return rows


def alternating(model: CloudRemovalModel, device: torch.device, precisions: list[str], tile: int, repeats: int) -> str:
    """The best time of each precision, one after the other and again: for a machine that others use, too."""
    inputs = inputs_of(model, 1, tile, device)
    runs = {precision: partial(Predictor(model, device, precision, 1), *inputs) for precision in precisions}  # type: ignore[arg-type]
    times = {precision: float("inf") for precision in precisions}
    for _ in range(2 * repeats):
        for precision, run in runs.items():
            times[precision] = min(times[precision], best_seconds(run, device, repeats=0))
    times_in_words = (
        f"{precision} {1e3 * best:.0f} ms ({times[precisions[0]] / best:.2f} times)"
        for precision, best in times.items()
    )
    return f"alternating, tile {tile}: {', '.join(times_in_words)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", default="auto")
    parser.add_argument("--published", action="store_true", help="the published size, with random weights")
    parser.add_argument("--tile", type=int, nargs="+", default=[256])
    parser.add_argument("--precision", choices=_DTYPES, nargs="+", default=["fp32"])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    process.tune()
    device = resolve_device(arguments.device)
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    print(f"{card}, {torch.get_num_threads()} threads, torch {torch.__version__}\n")
    model: nn.Module = AlignCR() if arguments.published else load_model(arguments.weights)
    assert isinstance(model, CloudRemovalModel)
    model.prepare_for_inference()
    header = "| | stage | GFLOP | ms | of the time | of the convolution rate | of the product's | kpx/s |"
    rows = [
        row
        for precision in arguments.precision
        for tile in arguments.tile
        for row in measure(model, device, precision, tile, arguments.repeats)
    ]
    if len(arguments.precision) > 1:
        for tile in arguments.tile:
            print(alternating(model, device, arguments.precision, tile, arguments.repeats))
    print("\n".join(["", header, "| --- " * 2 + "| ---: " * 6 + "|", *rows]))


if __name__ == "__main__":
    main()
