"""tensornets: its .npz files, its networks, and its original graph as an engine."""
