"""How well a model predicts a text in each format of its weights and of its KV blocks, by the engine's own steps."""
