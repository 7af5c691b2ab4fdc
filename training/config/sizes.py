"""Check of the input sizes of a run against its network."""

from training.config.options import Config
from training.errors import ConfigError


def check_size_multiple(config: Config, multiple: int) -> None:
    """Check that a network accepts the input sizes. Raises ConfigError.

    Args:
        config: Its `sizes` are checked.
        multiple: The network accepts multiples of this, in pixels.
    """
    if wrong := [size for _, size in config.size_plan() if size % multiple]:
        raise ConfigError(f"sizes: {wrong[0]} is not a multiple of {multiple}, as the network's input size must be.")
