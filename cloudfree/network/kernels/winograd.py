"""3x3 convolution by Winograd's F(4, 3) along rows: half the products, for transforms that are additions.

Lavin and Gray, Fast Algorithms for Convolutional Neural Networks (CVPR 2016), in one dimension: six neighbours in a row
are transformed to six values, each of which is convolved down the columns on its own, and four pixels come back. Both
dimensions at once would need a quarter of the products, but so many passes through memory that they were no faster:
see benchmarks/NOTES.md. Channels last, so that every addition runs along contiguous channels. In float32 the rounding
is some two to three times that of the direct convolution.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_G = [
    [1 / 4, 0, 0],
    [-1 / 6] * 3,
    [-1 / 6, 1 / 6, -1 / 6],
    [1 / 24, 1 / 12, 1 / 6],
    [1 / 24, -1 / 12, 1 / 6],
    [0, 0, 1],
]
_CACHED_BYTES = 32 << 20
"""The transformed values of some rows."""
_LEAST_PRODUCTS, _LEAST_PIXELS = 96 * 96, 64 * 64


def pays(x: Tensor, weight: Tensor) -> bool:
    """Whether it is quicker than the library's own convolution, as measured with AVX-512."""
    is_large = x[0, 0].numel() >= _LEAST_PIXELS and weight[:, :, 0, 0].numel() >= _LEAST_PRODUCTS
    return is_large and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")


def conv3x3(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`reference.conv3x3` without gradients; x may have any strides."""
    batch, channels, height, width = x.shape
    outputs, columns = len(weight), -(-width // 4)
    weights = (weight @ weight.new_tensor(_G).T).permute(3, 0, 1, 2).reshape(6 * outputs, channels, 3, 1)
    # Of a constant along a row only the second of the six values is not zero.
    biases = F.pad(bias, (outputs, 4 * outputs))
    framed = x.new_empty(batch, height + 2, 4 * columns + 2, channels)
    framed[:, 1:-1, 1 : width + 1] = x.permute(0, 2, 3, 1)
    for edge in (framed[:, :1], framed[:, -1:], framed[:, :, :1], framed[:, :, width + 1 :]):
        edge.zero_()
    out = x.new_empty(batch, height, columns, 4, outputs)
    step = max(1, _CACHED_BYTES // (6 * columns * channels * x.element_size()))
    for image, target in zip(framed, out, strict=True):
        for row in range(0, height, step):
            rows = slice(row, min(row + step, height))
            values = _transformed(image[rows.start : rows.stop + 2], columns)
            products = F.conv2d(values.flatten(2)[None].permute(0, 3, 1, 2), weights, biases, groups=6)
            _restore(products[0].permute(1, 2, 0).reshape(-1, columns, 6, outputs), target[rows])
    return out.view(batch, height, 4 * columns, outputs)[:, :, :width].permute(0, 3, 1, 2)


def _transformed(image: Tensor, columns: int) -> Tensor:
    """Pixels (rows, 4 * columns + 2, C) -> (rows, columns, 6, C): B^T d, common terms only once."""
    values = image.new_empty(len(image), columns, 6, image.shape[-1])
    out = values.unbind(2)
    d = [image[:, k : k + 4 * columns - 3 : 4] for k in range(6)]
    even, odd = torch.add(d[4], d[2], alpha=-4), torch.add(d[3], d[1], alpha=-4)
    torch.add(even, odd, out=out[1])
    torch.sub(even, odd, out=out[2])
    torch.add(even.sub_(d[2]), d[0], alpha=4, out=out[0])
    torch.add(torch.sub(d[5], odd, out=odd), d[3], alpha=-4, out=out[5])
    even, odd = torch.sub(d[4], d[2], out=even), torch.sub(d[3], d[1], out=odd)
    torch.add(even, odd, alpha=2, out=out[3])
    torch.sub(even, odd, alpha=2, out=out[4])
    return values


def _restore(products: Tensor, target: Tensor) -> None:
    """Products (rows, columns, 6, C_out) -> the target (rows, columns, 4, C_out): A^T m."""
    m, out = products.unbind(2), target.unbind(2)
    first, second = m[1] + m[2], m[3] + m[4]
    torch.add(first, second, alpha=4, out=out[2])
    torch.add(first.add_(second), m[0], out=out[0])
    first, second = torch.sub(m[1], m[2], out=first), torch.sub(m[3], m[4], out=second)
    torch.add(first, second, alpha=2, out=out[1])
    torch.add(first.add_(second, alpha=8), m[5], out=out[3])
