"""HTML pages for people, which load nothing from elsewhere: that of a run here, that of a batch in `batch.index`.

- `page`: the page of a run, from words and numbers (`facts`), pictures (`views`) and arrows of offsets (`vectors`).
- `embedding`: pixels as data URIs; `rendering`: templates as pages that allow no other script or style.

Templates, styles and scripts are in `templates/`.
"""
