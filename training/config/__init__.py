"""What determines the result of a run: its options, its task and the environment."""
