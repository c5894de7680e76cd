"""Files of a user: a path becomes a value that says what it is, and a reader of its pixels on any grid.

`files` has them all together: `InputOptions`, `identify`, `Inputs` and one reader. `strips` reads a scene from top to
bottom. `planet`, `sentinel1`, `cloudmask`, `reference` (the same ground on another date) know one kind of file each;
`raster`, `resample`, `displacement` serve them; `inspection` asks them what a file would be taken for.
"""
