"""Made-up land and cloud, for training and tests: equal generators give equal pixels.

`landscape` makes a place as camera and radar see it, from `parcels` and what `surface` knows of materials; `clouds`
lays cloud, haze and shadow over any scene; both are made of `noise`.
"""
