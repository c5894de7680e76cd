"""Any raster: `access` opens and reads it, `validity` tells where it has data, `sample` looks at its values.

`admitted` says which files may be opened, `beside` what may lie beside them, `sound` which of them would crash what
reads them.
"""
