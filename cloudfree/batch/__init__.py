"""Many scenes: a list or a folder becomes jobs, and each job a product, whatever becomes of the others.

`jobs` has what a job is and reads lists of them; `pairing` makes them of a folder, each scene with the radar and the
references that suit it best. `needs` looks at what they want of disk and memory. `runner` does one after the other,
`cluster` many at once on Dask's workers; `results` keeps what became of each, `index` shows it to people, and
`collection` lists the products for catalogues.
"""
