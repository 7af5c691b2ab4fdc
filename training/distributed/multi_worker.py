"""A team of several processes, over TensorFlow's MultiWorkerMirroredStrategy: it connects them, sums over them, and notices who is gone.

TensorFlow's coordination service listens on the chief's port. A worker that was killed is noticed at once, as its connection breaks; one
that hangs, or whose machine is gone, after about ten seconds without a heartbeat. The sum that the others wait for fails then.
"""

import json
import logging
import re
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.eager import context

from training.distributed.cluster import Cluster
from training.distributed.process_group import Share, Team
from training.errors import TrainingError, WorkerLost

_BROKEN = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
)
"""What a sum raises where it cannot come about any more."""
_MARK = "boxwright: "
"""Before the sentence with which a worker ends the others."""
_ABORTED = "aborted by: "
"""Before TensorFlow's own account of it."""
_WORD = 4  # bytes

_log = logging.getLogger("boxwright.training")


class Workers(Team):
    """This worker, connected with the others."""

    def __init__(self, cluster: Cluster, strategy: Any) -> None:
        self.cluster, self._strategy = cluster, strategy
        self.share = Share(cluster.index, len(cluster.addresses))

    @classmethod
    def joined(cls, cluster: Cluster) -> "Workers":
        """Wait until all workers are there. To be called before TensorFlow does anything else. Raises TrainingError."""
        resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
            tf.train.ClusterSpec({"worker": list(cluster.addresses)}), task_type="worker", task_id=cluster.index, rpc_layer="grpc"
        )
        ring = tf.distribute.experimental.CommunicationImplementation.RING
        options = tf.distribute.experimental.CommunicationOptions(implementation=ring)
        with _interruptible():
            try:
                strategy = tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver, communication_options=options)
            except (tf.errors.OpError, RuntimeError) as error:
                raise TrainingError(f"worker {cluster.index} cannot join {','.join(cluster.addresses)}: {error}") from error
        if strategy.num_replicas_in_sync != len(cluster.addresses):
            raise TrainingError("a worker trains on one device: start one for each GPU, with CUDA_VISIBLE_DEVICES and a port of its own.")
        return cls(cluster, strategy)

    def sum(self, tensors: Sequence[Any]) -> list[Any]:
        """See `Team.sum`. All tensors travel as one."""

        def summed(mine: list[Any]) -> Any:
            # identity: a copy upon this worker's device, which the strategy asks for
            return tf.distribute.get_replica_context().all_reduce("SUM", [tf.identity(tensor) for tensor in mine])

        return list(self._strategy.run(summed, (list(tensors),)))

    def any(self, flag: bool) -> bool:
        """See `Team.any`."""
        return bool(self._sum_now(np.array([flag], np.int32))[0])

    def told(self, tell: Callable[[], Any]) -> Any:
        """See `Team.told`."""
        return json.loads(self.told_bytes(lambda: json.dumps(tell()).encode()))

    def told_bytes(self, tell: Callable[[], bytes]) -> bytes:
        """See `Team.told_bytes`. Bytes are summed as whole numbers, the others' being zeros."""
        data = tell() if self.is_chief else b""
        length = int(self._sum_now(np.array([len(data)], np.int64))[0])
        words = np.zeros(-(-length // _WORD) * _WORD, np.uint8)
        words[: len(data)] = np.frombuffer(data, np.uint8)
        told: bytes = self._sum_now(words.view(np.int32)).tobytes()
        return told[:length]

    def _sum_now(self, numbers: Any) -> Any:
        return self._compiled_sum(numbers)[0].numpy()

    @cached_property
    def _compiled_sum(self) -> Any:
        return tf.function(lambda numbers: self.sum([numbers]), reduce_retracing=True, autograph=False)

    @contextmanager
    def together(self, advice: str = "") -> Iterator[None]:
        """See `Team.together`."""
        try:
            yield
        except _BROKEN as error:
            why = self._why(str(error))
            raise WorkerLost(f"{why} {advice} Any number of workers will do." if advice else why) from error
        except BaseException as error:
            self._end_others(str(error) or type(error).__name__)
            raise

    def _end_others(self, why: str) -> None:
        try:
            context.context().report_error_to_cluster(tf.errors.ABORTED, f"{_MARK}{why}")
        except tf.errors.OpError as error:  # they are gone already
            _log.info("the other workers could not be told: %s", error)

    def _why(self, message: str) -> str:
        tasks = sorted({int(number) for number in re.findall(r"/task:(\d+)", message)} - {self.share.index})
        names = ", ".join(f"worker {task} ({self.cluster.addresses[task]})" for task in tasks if task < self.count) or "another worker"
        _, mark, sentence = message.partition(_MARK)
        if mark:
            sentence = sentence.split("\nThe error could be from a previous operation")[0].split(" [type.googleapis")[0]
            return f"{names} has ended the run: {sentence.strip()}"
        account = (message.partition(_ABORTED)[2] or message).strip().partition("\n")[0]
        return f"{names} is gone: it was killed, or its machine or the network between them broke down ({account.rstrip('.')})."


@contextmanager
def _interruptible() -> Iterator[None]:
    """Inside, Ctrl-C ends the program at once: Python's own handling waits for TensorFlow to return, which waits for the others."""
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
