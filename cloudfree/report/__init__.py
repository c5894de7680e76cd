"""HTML pages for people: one file for a run, one for a batch, which load nothing from elsewhere.

- `page`: the page of a run, from words and numbers (`facts`), pictures (`views`) and arrows of offsets (`vectors`).
- `index`: the page of a batch.
- `embedding`: pixels as data URIs; `rendering`: templates as pages that allow no other script or style.

Templates, styles and scripts are in `templates/`.
"""
