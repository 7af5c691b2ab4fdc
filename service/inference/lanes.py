"""The threads in which one model's network is called, and no other."""

from concurrent.futures import ThreadPoolExecutor


class Lanes(ThreadPoolExecutor):
    """So many threads."""

    def __init__(self, count: int = 1) -> None:
        super().__init__(count, thread_name_prefix="network")
        self.count = count
