"""File formats of models: our own, Darknet's, tensornets', and exports to other frameworks."""
