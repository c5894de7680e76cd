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
