"""The Triton kernels, in processes of their own: how Triton runs is settled for a process when it is imported."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")


def run(*arguments: str, **environment: str) -> str:
    command = [sys.executable, "-W", "error", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_kernels_equal_their_references():
    """On the GPU, or without one in Triton's interpreter."""
    interpret = {} if torch.cuda.is_available() else {"TRITON_INTERPRET": "1"}
    cases = Path(__file__).with_name("triton_cases.py")
    assert " passed" in run("-m", "pytest", "-q", "-p", "no:cacheprovider", str(cases), **interpret)


COMPILE = """
import sys
import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction
from cloudfree.network.kernels import DeformConv2dArgs, DynamicFilterArgs, TwoStreamAttentionArgs, triton

class Driver:
    get_current_device = get_current_stream = lambda self, *arguments: 0
    get_current_target = lambda self: GPUTarget("cuda", int(sys.argv[1]), 32)

driver.set_active(Driver())
run = JITFunction.run

def compile_only(self, *arguments, warmup, **others):
    kernel = run(self, *arguments, warmup=True, **others)
    assert "tf32" not in kernel.asm["ptx"], self.__name__
    print(self.__name__)

JITFunction.run = compile_only

def zeros(*shape):
    x = torch.zeros(shape, dtype=getattr(torch, sys.argv[2]))
    return (x.to(memory_format=torch.channels_last) if len(shape) == 4 else x).requires_grad_()

out = triton.deform_conv2d(
    DeformConv2dArgs(zeros(1, 96, 8, 8), zeros(1, 144, 8, 8), zeros(1, 72, 8, 8), zeros(96, 96, 3, 3), zeros(96), 8)
)
out.backward(out)
out = triton.fused_dynamic_filter(
    DynamicFilterArgs(zeros(1, 96, 8, 8), zeros(1, 96, 8, 8), zeros(2400, 96, 1, 1), zeros(2400), 5, 0.1)
)
out.backward(out)
for mask in (None, torch.zeros(1, 64, 64)):
    qkv = zeros(1, 64, 288)
    triton.two_stream_attention(
        TwoStreamAttentionArgs(qkv, qkv, zeros(8, 64, 64), mask, zeros(8, 8, 1, 1), zeros(8), 8)
    )
"""


@pytest.mark.slow
def test_kernels_compile_for_a_gpu(tmp_path):
    """At Align-CR's sizes, to machine code: what the interpreter runs the compiler may refuse. TF32 is nowhere."""
    compiled = run("-c", COMPILE, "80", "float32", TRITON_CACHE_DIR=str(tmp_path)).split()
    expected = ["_forward", "_samples", "_weights", "_filter", "_filter", "_features", "_weights", "_attend", "_attend"]
    assert sorted(compiled) == sorted(expected)
