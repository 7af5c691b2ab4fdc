"""The network as data, and what follows from it: shapes, the model spec and the Keras model."""
