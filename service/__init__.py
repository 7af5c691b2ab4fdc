"""The HTTP service. `app.create_app(registry, settings)` creates the application."""
