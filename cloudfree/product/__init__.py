"""What becomes of each pixel, and the files that come out.

`compose` decides pixel by pixel; `writer` takes strips to the files that `profiles` describe and `cog` writes, and
`mask_file` the mask that was used;
`targets` gives files their names, whole or not at all; `provenance` tags them; `pictures` are for people.
"""
