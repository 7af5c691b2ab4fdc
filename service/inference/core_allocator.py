"""Allocation of CPU cores to the calls of a network.

One call with many threads is the fastest for one image. Several calls with fewer threads give more throughput, because the threads
of one call wait for each other after every layer.
"""

AVERAGING_WEIGHT = 0.5  # Weight of the latest arrival in the moving average of the number of images.


class CoreAllocator:
    """Divides `cores` among up to `max_calls` parallel calls of the network. Not thread-safe.

    The images that wait share the free cores: k images get 1/k of them each. The moving average of waiting and running images
    keeps cores free for the next image of steady clients. Thus the images of two clients run in parallel instead of one after the other.
    """

    def __init__(self, cores: int, max_calls: int) -> None:
        self.free = cores
        self._max_calls = max_calls
        self._calls = 0  # running
        self._average = 1.0  # images waiting or running, at the arrival of an image

    @property
    def can_start(self) -> bool:
        """Whether another call may start."""
        return self.free > 0 and self._calls < self._max_calls

    def arrive(self, waiting: int) -> None:
        """Record that an image arrives; `waiting` includes it."""
        self._average += AVERAGING_WEIGHT * (waiting + self._calls - self._average)

    def start(self, waiting: int) -> int:
        """Start a call for one of the waiting images and return its number of cores. Requires `can_start`."""
        expected = max(waiting, int(self._average + 0.5) - self._calls)
        calls = max(1, min(expected, self._max_calls - self._calls))
        cores = max(1, self.free // calls)
        self.free -= cores
        self._calls += 1
        return cores

    def finish(self, cores: int) -> None:
        """End a call that `start` gave this number of cores."""
        self.free += cores
        self._calls -= 1
