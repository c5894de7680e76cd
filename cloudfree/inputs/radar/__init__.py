"""Sentinel-1: VV and VH in dB on any grid.

`image` joins the files of one scene; `polarisation` decides which band is which, by `names`, `backscatter` decides the
units, `border_noise` what is no ground. A `frame` is VV and VH that belong together, a `mosaic` several of them. `safe`
reads ESA's own products.
"""
