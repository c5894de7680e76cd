"""How large files of strangers may be, in what a few bytes of them can make large: far beyond what is delivered.

Those of a raster's size, and of virtual ones and HDF5, are with what reads them (`raster.admitted`), and those of a
pixel's size with the grid (`geometry.grid`).
"""

DOCUMENT_BYTES = 16 << 20
"""Of XML, JSON, headers and side files, unpacked. They are read whole; parsed, 25 times as much memory was measured."""

DOCUMENT_ENDINGS = ".xml", ".imd", ".rpb", ".pvl", ".hdr"
"""Of documents that are read whole."""

UNPACKED_BYTES = 1 << 30
"""Of a file in an archive that must be held whole."""

MEMBERS, DIRECTORY_BYTES = 10_000, 4 << 20
"""Of an archive: its files, and the list of them at its end."""

FOLDER_FILES = 100_000
"""Of a folder that is given as a container, with the folders within."""
