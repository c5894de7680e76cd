"""Files of a user: a path becomes a value that says what it is, and a reader of its pixels on any grid.

`source` is where a file may be, on disk, in an archive or at an address, and `containers` chooses in what comes as
several (`separate_bands` joins bands stored apart; `remote` asks a server for the version of a file).

`files` has them all together: `InputOptions`, `identify`, `Inputs` and one reader. `strips` reads a scene from top to
bottom. `planet`, `sentinel1`, `cloudmask`, `reference` (the same ground on another date) know one kind of file each;
`siblings`, `optical_bands`, `quantity`, `validity` tell what lies beside a scene, which band is which, what its
numbers are and where it has any; `mask_codes` has what the numbers of masks mean, `found_clouds` what no file says of
clouds, and `feather` how far they reach beyond either; each finding is a `decision`. `raster`, `resample`,
`displacement` serve them, and `polarisation`, `backscatter`, `border_noise`, `sar_frame` and `mosaic` Sentinel-1;
`acquisition` tells when an image was taken. `safe` reads ESA's own products of it, whose numbers `calibration` and
whose places `geolocation_grid` take from their annotation (`safe_xml`). `part` is a part of a scene. `inspection` asks
all of them what a file would be taken for.
"""
