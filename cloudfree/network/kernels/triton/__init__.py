"""The operations on CUDA as Triton kernels: float32, bfloat16 and float16, any strides. To import it imports Triton."""

from cloudfree.network.kernels.triton.attention import two_stream_attention
from cloudfree.network.kernels.triton.deform import deform_conv2d
from cloudfree.network.kernels.triton.filter import fused_dynamic_filter

__all__ = ["deform_conv2d", "fused_dynamic_filter", "two_stream_attention"]
