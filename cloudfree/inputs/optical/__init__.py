"""Optical images: blue, green, red and NIR, as reflectance.

`scene` is a PlanetScope scene, `reference` an image of the same ground on another date. `bands` chooses their bands,
`quantity` decides what the numbers are, `planet_product` knows Planet's names, metadata and the files beside a
scene, and `sun` where the sun stood by these.
"""
