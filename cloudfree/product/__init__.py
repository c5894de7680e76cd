"""What becomes of each pixel, and the files that come out.

- `kinds`: the table of the files that a run may write.
- `compose`: what becomes of each pixel; `writer`: strips to files; `profiles`: their bands; `cog`: the COG itself.
- `targets`: files appear under their names whole or not at all; `locks`: other runs keep away meanwhile.
- `needs`: the disk and memory that they take, told before.
- `provenance`: tags and identity, and whether a product need not be made again.
- `pictures`: PNG for people, of panels under their `captions`, in the letters of `lettering`; `styles`: how QGIS shows
  each raster.
- `stac`: an item for catalogues, with its outline (`footprint`), the files of a product (`stac_assets`) and its inputs
  (`stac_links`).
"""
