"""How well clouds are removed, on images whose truth is known.

`score` compares `methods` with `baselines` on `triplets` of cloudy, clear and radar images, and `tables` writes it
down. `metrics` has the measures by their true definitions, `published_metrics` as the published scores have them.
"""
