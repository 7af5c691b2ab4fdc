"""The catalogue of pretrained models: downloading, caching and verifying their files, and finding a model by name."""
