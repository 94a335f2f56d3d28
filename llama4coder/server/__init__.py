"""The HTTP endpoint over any `GenerationBackend`; `app.create_app` wires it."""
