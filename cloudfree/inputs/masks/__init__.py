"""Where clouds and shadows are.

`mask` is a UDM2 or any other mask file, `codes` what the numbers in one mean, and `found` what was detected in the
scene itself.
"""
