"""Where pixels lie on the ground: no file is known here.

`grid` is the pixel grid as a value, `geolocation_grid` that of a radar image before its terrain correction;
`resample` brings an image from either onto a grid, moved over the ground by a `displacement`; `coarse`
averages an image to a coarser grid and interpolates it back, and `distance` is how far pixels are from a mask.
"""
