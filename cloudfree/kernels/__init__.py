"""Two operations that torch has no layer for. Networks import them from here, not from an implementation."""

from cloudfree.kernels.reference import deform_conv2d, dynamic_filter

__all__ = ["deform_conv2d", "dynamic_filter"]
