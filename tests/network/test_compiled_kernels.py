"""The Triton kernels compiled for cards that are not here: what they take there stays within what is written down."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"

# Registers a thread at most: blocks of 256 threads share 65,536, so that of 128 two blocks fit. Attention holds the
# gates of all heads; the gradients of samples and of kernels hold two tiles.
MOST_REGISTERS = {
    "deform._forward": 96,
    "filter._filter": 96,
    "attention._attend": 224,
    "attention._attend, shifted": 224,
    "filter._filter, transposed": 96,
    "deform._samples": 144,
    "deform._weights": 96,
    "filter._features": 144,
    "filter._weights": 144,
}
FORWARD = list(MOST_REGISTERS)[:4]
MOST_SHARED_BYTES = 40 * 1024
MOST_STACK_BYTES = 16
"""None in most. In some the assembler itself puts a few values away, where one block more fits for that."""

# Each pair of size, precision and capability; all pairs of precision and capability for the published size.
CASES = [
    ("published", "float32", 80, True),
    ("published", "bfloat16", 90, True),
    ("published", "float16", 80, False),
    ("published", "bfloat16", 80, False),
    ("published", "float32", 90, False),
    ("published", "float16", 90, False),
    ("small", "float32", 80, False),
    ("small", "bfloat16", 80, False),
    ("small", "float16", 90, False),
]
COMPILE = """
import dataclasses, json, sys
import compiled

print(compiled.missing() or "complete")
for size, precision, capability, backward in json.loads(sys.argv[1]) if not compiled.missing() else []:
    made = compiled.compile_kernels(size, precision, capability, backward=backward)
    print(json.dumps([dataclasses.asdict(kernel) for kernel in made]))
"""


@pytest.mark.slow
def test_kernels_compile_for_cards_within_limits(tmp_path: Path) -> None:
    """To machine code: what the interpreter runs the compiler may refuse. In a process that then launches nothing."""
    if importlib.util.find_spec("triton") is None:
        pytest.skip("Triton is not installed")
    path = os.pathsep.join([str(BENCHMARKS), str(BENCHMARKS.parent)])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", COMPILE, json.dumps(CASES)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path, "TRITON_CACHE_DIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    state, *lines = done.stdout.splitlines()
    if state != "complete":
        pytest.skip(f"{state} is not here")
    for case, line in zip(CASES, lines, strict=True):
        made = json.loads(line)
        assert sorted(kernel["name"] for kernel in made) == sorted(MOST_REGISTERS if case[-1] else FORWARD), case
        for kernel in made:
            assert not kernel["tf32"], (case, kernel)
            assert kernel["registers"] <= MOST_REGISTERS[kernel["name"]], (case, kernel)
            assert kernel["shared_bytes"] <= MOST_SHARED_BYTES, (case, kernel)
            assert kernel["stack_bytes"] <= MOST_STACK_BYTES, (case, kernel)


def test_blocks_of_a_multiprocessor(monkeypatch: pytest.MonkeyPatch) -> None:
    """By whichever of registers, shared memory and warps is spent first."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    from compiled import CompiledKernel

    def blocks(registers: int, shared_bytes: int, capability: int) -> int:
        return CompiledKernel("a", registers, shared_bytes, 0, 8, tf32=False).blocks(capability)

    assert blocks(164, 14336, 90) == 1  # 65,536 / (256 * 168)
    assert blocks(128, 0, 80) == 2
    assert blocks(129, 0, 80) == 1
    assert blocks(32, 0, 80) == 8  # 64 warps
    assert blocks(32, 0, 75) == 4
    assert blocks(32, 40 * 1024, 80) == 4  # 164 KiB, a kibibyte a block for the system
    assert blocks(32, 32 * 1024, 75) == 2
