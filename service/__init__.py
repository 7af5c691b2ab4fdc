"""The detector behind HTTP: a thin skin with one seam, `app.create_app(registry, settings)`."""
