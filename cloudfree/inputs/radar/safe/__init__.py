"""ESA's Sentinel-1 GRD products (SAFE).

`layout` finds the files of a product; `product` reads them as sigma nought, by the tables of `calibration`; `document`
is an XML file.
"""
