"""Loss, optimizers, learning-rate schedules and early stopping."""
