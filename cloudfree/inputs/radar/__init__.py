"""Sentinel-1: VV and VH in dB on any grid.

`image` is what several files are together; `polarisation` decides which band is which, `backscatter` in which units,
`border_noise` what is no ground. A `frame` is VV and VH that belong together, a `mosaic` several of them. `safe` reads
ESA's own products.
"""
