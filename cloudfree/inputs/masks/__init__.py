"""Where clouds and shadows are.

`mask` is a UDM2 or any other mask file, `meaning` decides what the numbers in one mean, by the tables of `codes` and by
what `names` say, `polygons` are masks in files of vectors, and `found` is what was detected in the scene itself.
"""
