"""ESA's Sentinel-1 GRD products (SAFE).

`product` finds the files and reads them as sigma nought, by the tables of `calibration`; `document` is an XML file.
"""
