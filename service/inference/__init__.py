"""Detection requests: the path of an image, the admission queue, and the threads of the network."""
