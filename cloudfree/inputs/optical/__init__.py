"""Optical images: blue, green, red and NIR, as reflectance.

`scene` is a PlanetScope scene, `reference` an image of the same ground on another date. `bands` tells which band is
which, `quantity` what the numbers are, and `planet_product` what Planet calls a scene and the files beside it.
"""
