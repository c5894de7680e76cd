"""Files of a user: a path becomes a value that says what it is, and a reader of its pixels on any grid.

`files` has the files of one scene together: `InputOptions`, `identify`, `Inputs`, and one reader of them all. Below it
are five rooms: `location`, where the bytes of a file come from; `raster`, how any raster is opened and sampled, and
where it has data; `optical`, scenes and images of other dates; `radar`, Sentinel-1; `masks`, clouds and shadows.
`acquisition` is when and from which orbit an image was taken, `dates` how that is written, `area` a part of a scene,
`decision` how a file is read and why, `values` what options may be, `limits` how large strangers' files may be, and
`inspection` says what a run would take a file for.
"""
