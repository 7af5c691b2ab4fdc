"""Progress of the training package, shown as a bar."""

from cli.output.progress import Advance
from training.events import Events


class ProgressEvents(Events):
    """Advances a progress bar for each image."""

    def __init__(self, advance: Advance) -> None:
        self._advance = advance

    def image_evaluated(self) -> None:
        """The detector has processed one more image."""
        self._advance()

    def image_checked(self, total: int) -> None:
        """One more image of a data set is checked."""
        self._advance(total)
