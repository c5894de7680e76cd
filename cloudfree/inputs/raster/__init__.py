"""Any raster: `access` opens and reads it, `validity` tells where it has data, `sample` looks at its values."""
