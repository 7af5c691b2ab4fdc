"""Detection requests: the stages of an image, the admission queue, and the threads of the network."""
