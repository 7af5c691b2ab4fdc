"""Recognise a training loss that has exploded without becoming NaN, and choose a lower learning rate."""

from collections.abc import Sequence
from statistics import median
from typing import Any

from training.config.options import Config

EXPLODED = 20.0
"""The loss has exploded if the last steps have a larger multiple of the first step's loss. Batches differ by much less."""
EXPLODED_ONCE = 1000.0
"""The loss has also exploded if any step had a larger multiple, and the last steps are still above the first."""
RECENT_SHARE = 10  # The last tenth of the steps counts as recent.


def lower_learning_rate(config: Config) -> str:
    """Return a tenth of the learning rate, but at most the default, as the value of an option."""
    default: float = Config.model_fields["learning_rate"].default
    return f"{min(config.learning_rate / 10, default):.1g}"


def describe_explosion(losses: Sequence[float], config: Config) -> dict[str, Any] | None:
    """Return the reason, a sentence without its full stop, and a better learning rate; None unless the loss has exploded.

    Args:
        losses: The training loss of each step.
        config: Options of the run.
    """
    if len(losses) < 2:
        return None
    first, recent = losses[0], median(losses[-max(1, len(losses) // RECENT_SHARE) :])
    if recent <= EXPLODED * first and (recent <= first or max(losses) <= EXPLODED_ONCE * first):
        return None
    reason = f"The loss rose from {first:.3g} to {max(losses):.3g}, so the learning rate {config.learning_rate:g} is too high"
    return {"reason": reason, "learning_rate": lower_learning_rate(config)}
