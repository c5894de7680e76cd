"""What becomes of each pixel, and the files that come out.

`compose` decides pixel by pixel; `writer` takes strips to the files that `profiles` describe and `cog` writes;
`targets` gives files their names, whole or not at all; `provenance` tags them; `pictures` are for people.
"""
