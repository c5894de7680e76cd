"""Pages for people: one file of a run, one of a batch, with nothing from elsewhere.

`page` puts a run's page together from what `facts` says in words and numbers, `views` shows side by side and `vectors`
draws of offsets; `index` is the page of a batch. `embedding` turns pixels into data URIs, and `rendering` templates
into a page that allows no script and no style but its own. Templates, styles and scripts lie in `templates/`.
"""
