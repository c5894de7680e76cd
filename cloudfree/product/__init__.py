"""What becomes of each pixel, and the files that come out.

`compose` decides pixel by pixel; `writer` takes strips to the files that `profiles` describe and `cog` writes, and
`mask_file` the mask that was used; `targets` gives files their names, whole or not at all, and `locks` keeps other runs
from them meanwhile; `provenance` tags them, so that `finished` knows what need not be made again; `pictures` are for
people, and `stac` for catalogues: where there are data (`footprint`), what the files hold (`stac_assets`) and what they
were made of (`stac_links`).
"""
