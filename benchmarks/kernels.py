"""The Triton kernels against their references on the CUDA device: values, time, peak memory, as a Markdown table.

    python benchmarks/kernels.py [--side 256] [--dtype float32]
    python benchmarks/kernels.py --compile-only [--capability 80 90] [--size published] [--dtype float32]

Align-CR's sizes, channels_last; `side` is that of the feature map, half the image's. A row is a forward pass without
gradients, or a forward and backward pass; differences are relative to the largest value, of output and gradients.

With `--compile-only` no device is needed, and nothing is run: the table has what each kernel takes on cards of these
compute capabilities.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import Any

import compiled
import torch
from torch import Tensor

from cloudfree.network import kernels

WIDTH, GROUPS, HEADS, WINDOW, SIZE = 96, 8, 8, 8, 5
Args = kernels.DeformConv2dArgs | kernels.DynamicFilterArgs | kernels.TwoStreamAttentionArgs
Call = tuple[Callable[[Any], Tensor | tuple[Tensor, Tensor]], Args]


def calls(side: int, dtype: torch.dtype) -> dict[str, Call]:
    """Each kernel and its arguments, as the network calls it on a feature map of side x side."""
    generator = torch.Generator("cuda").manual_seed(0)

    def normal(*shape: int) -> Tensor:
        x = torch.randn(shape, generator=generator, device="cuda", dtype=torch.float32).to(dtype)
        return x.to(memory_format=torch.channels_last) if len(shape) == 4 else x

    features, taps, tokens = (1, WIDTH, side, side), 9 * GROUPS, WINDOW**2
    windows = (side // WINDOW) ** 2
    offset, mask = 2 * normal(1, 2 * taps, side, side), normal(1, taps, side, side).sigmoid()
    kernel = normal(WIDTH * SIZE**2, WIDTH, 1, 1) / WIDTH
    shift_mask = -100 * (normal(windows, tokens, tokens) > 1).to(dtype)
    gate = normal(HEADS, HEADS, 1, 1), normal(HEADS)
    qkv = normal(windows, tokens, 3 * WIDTH), normal(windows, tokens, 3 * WIDTH)
    weight = normal(WIDTH, WIDTH, 3, 3) / WIDTH
    return {
        "deform_conv2d": (
            kernels.deform_conv2d,
            kernels.DeformConv2dArgs(normal(*features), offset, mask, weight, normal(WIDTH), GROUPS),
        ),
        "fused_dynamic_filter": (
            kernels.fused_dynamic_filter,
            kernels.DynamicFilterArgs(
                normal(*features), normal(*features), kernel, normal(WIDTH * SIZE**2), SIZE, negative_slope=0.1
            ),
        ),
        "two_stream_attention": (
            kernels.two_stream_attention,
            kernels.TwoStreamAttentionArgs(*qkv, normal(HEADS, tokens, tokens), shift_mask, *gate, HEADS),
        ),
    }


def run(call: Call, *, backward: bool) -> list[Tensor]:
    """Outputs, and the gradients of every tensor after them."""
    function, args = call
    args = args._make(
        x.detach().requires_grad_(backward) if isinstance(x, Tensor) and x.is_floating_point() else x for x in args
    )
    out = function(args)
    outs = list(out) if isinstance(out, tuple) else [out]
    if not backward:
        return outs
    leaves = [x for x in args if isinstance(x, Tensor)]
    return [*(x.detach() for x in outs), *torch.autograd.grad(outs, leaves, [x.detach() for x in outs])]


def measured(call: Call, *, backward: bool, repeats: int = 20) -> tuple[list[Tensor], float, float]:
    """(tensors, median milliseconds, peak MiB beyond the arguments)."""
    tensors = run(call, backward=backward)  # compiles, and is what is compared
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    times = []
    for _ in range(repeats):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        run(call, backward=backward)
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end))
    return tensors, sorted(times)[repeats // 2], (torch.cuda.max_memory_allocated() - before) / 2**20


def difference(tensors: list[Tensor], expected: list[Tensor]) -> float:
    return max(((x - y).abs().max() / y.abs().max()).item() for x, y in zip(tensors, expected, strict=True))


def print_compiled(sizes: list[str], precisions: list[str], capabilities: list[int]) -> None:
    """What each kernel takes, a row for each size and precision and a column for each kind of card."""
    print(
        "Compiled, not run. Registers a thread, KiB of shared memory a block, blocks a multiprocessor; where registers"
    )
    print("were spilled, bytes of stack a thread.\n")
    print("| size | precision | kernel |", *(f"sm_{capability} |" for capability in capabilities))
    print("| --- | --- | --- |", *("---: |" for _ in capabilities))
    for size in sizes:
        for precision in precisions:
            columns = [cells(size, precision, capability) for capability in capabilities]
            for name in dict.fromkeys(name for column in columns for name in column):
                print(f"| {size} | {precision} | `{name}` |", *(f"{column.get(name, '—')} |" for column in columns))


def cells(size: str, precision: str, capability: int) -> dict[str, str]:
    """What to print of each kernel on one kind of card; none if the compiler does not know that or refuses."""
    try:
        made = compiled.compile_kernels(size, precision, capability)
    except Exception as error:  # noqa: BLE001 - a compiler's errors are of many kinds
        print(f"sm_{capability}, {precision}, {size}: {str(error).strip().splitlines()[0]}", file=sys.stderr)
        return {}
    return {kernel.name: cell(kernel, capability) for kernel in made}


def cell(kernel: compiled.CompiledKernel, capability: int) -> str:
    spilled = f", {kernel.stack_bytes} B" if kernel.stack_bytes else ""
    return f"{kernel.registers}, {kernel.shared_bytes / 1024:.1f}, {kernel.blocks(capability)}{spilled}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=256, help="of the feature map, a multiple of 8")
    parser.add_argument("--dtype", choices=compiled.PRECISIONS, help="float32, or with --compile-only each")
    parser.add_argument("--compile-only", action="store_true", help="for cards that are not here; nothing is run")
    parser.add_argument("--capability", type=int, nargs="+", choices=compiled.MULTIPROCESSORS, help="80 is sm_80")
    parser.add_argument("--size", nargs="+", choices=compiled.SIZES, default=list(compiled.SIZES), help="of Align-CR")
    options = parser.parse_args()
    precisions = [options.dtype] if options.dtype else list(compiled.PRECISIONS)
    if not options.compile_only:
        print_measured(options.side, precisions[0])
    elif lacking := compiled.missing():
        print(f"{lacking} is not here: nothing can be compiled.")
    else:
        print_compiled(options.size, precisions, options.capability or list(compiled.MULTIPROCESSORS))


def print_measured(side: int, dtype: str) -> None:
    if not torch.cuda.is_available():
        print("No CUDA device: nothing to measure.")
        return
    torch.backends.cudnn.allow_tf32 = False  # torch's default for convolutions; the Triton kernels never use it
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {dtype}, side {side}\n")
    print("| kernel | pass | ms reference | ms Triton | MiB reference | MiB Triton | largest difference |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, call in calls(side, getattr(torch, dtype)).items():
        for backward in (False, True):
            measurements = {}
            for choice in ("reference", "triton"):
                os.environ[kernels.VARIABLE] = choice
                measurements[choice] = measured(call, backward=backward)
            (expected, ms, mib), (tensors, ms_triton, mib_triton) = measurements["reference"], measurements["triton"]
            row = f"{ms:.2f} | {ms_triton:.2f} | {mib:.0f} | {mib_triton:.0f} | {difference(tensors, expected):.0e}"
            print(f"| `{name}` | {'both' if backward else 'forward'} | {row} |")


if __name__ == "__main__":
    main()
