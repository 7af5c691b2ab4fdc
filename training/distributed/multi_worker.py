"""Several worker processes as one group, based on TensorFlow's MultiWorkerMirroredStrategy.

TensorFlow's coordination service listens on the chief's port. The death of a worker breaks its connection and is detected immediately.
A worker that hangs, or a machine that is disconnected, is detected after about ten seconds without a heartbeat. In both cases the pending
sum fails.
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
from training.distributed.process_group import ProcessGroup, Shard
from training.errors import TrainingError, WorkerLost

_CONNECTION_ERRORS = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
)
"""Raised by a sum that another worker cannot complete."""
_REASON_MARK = "boxwright: "  # Precedes the reason that a failing worker sends to the others.
_TENSORFLOW_REASON_MARK = "aborted by: "  # Precedes TensorFlow's own description of the failure.
_WORD = 4  # bytes

logger = logging.getLogger("boxwright.training")


class MultiWorkerGroup(ProcessGroup):
    """This worker, connected to the others."""

    def __init__(self, cluster: Cluster, strategy: Any) -> None:
        self.cluster, self._strategy = cluster, strategy
        self.shard = Shard(cluster.index, len(cluster.addresses))

    @classmethod
    def connect(cls, cluster: Cluster) -> "MultiWorkerGroup":
        """Wait until all workers are connected. Call this before any other use of TensorFlow. Raises TrainingError."""
        resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
            tf.train.ClusterSpec({"worker": list(cluster.addresses)}), task_type="worker", task_id=cluster.index, rpc_layer="grpc"
        )
        ring = tf.distribute.experimental.CommunicationImplementation.RING
        options = tf.distribute.experimental.CommunicationOptions(implementation=ring)
        with _default_interrupt():
            try:
                strategy = tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver, communication_options=options)
            except (tf.errors.OpError, RuntimeError) as error:
                raise TrainingError(f"worker {cluster.index} cannot join {','.join(cluster.addresses)}: {error}") from error
        if strategy.num_replicas_in_sync != len(cluster.addresses):
            raise TrainingError("each worker uses one device. Start one worker for each GPU, with its own CUDA_VISIBLE_DEVICES and port.")
        return cls(cluster, strategy)

    def sum(self, tensors: Sequence[Any]) -> list[Any]:
        """Return each tensor's sum over all workers. One message carries all tensors."""

        def all_reduce(local: list[Any]) -> Any:
            # tf.identity copies the tensors to this worker's device, which the strategy requires
            return tf.distribute.get_replica_context().all_reduce("SUM", [tf.identity(tensor) for tensor in local])

        return list(self._strategy.run(all_reduce, (list(tensors),)))

    def any(self, flag: bool) -> bool:
        """Return True if `flag` is true in at least one worker."""
        return bool(self._sum_array(np.array([flag], np.int32))[0])

    def broadcast(self, compute: Callable[[], Any]) -> Any:
        """Call `compute` on the chief and return its result on all workers. See `ProcessGroup.broadcast`."""
        return json.loads(self.broadcast_bytes(lambda: json.dumps(compute()).encode()))

    def broadcast_bytes(self, compute: Callable[[], bytes]) -> bytes:
        """Broadcast bytes as a sum of integers to which the other workers contribute zeros. See `ProcessGroup.broadcast_bytes`."""
        data = compute() if self.is_chief else b""
        length = int(self._sum_array(np.array([len(data)], np.int64))[0])
        words = np.zeros(-(-length // _WORD) * _WORD, np.uint8)
        words[: len(data)] = np.frombuffer(data, np.uint8)
        received: bytes = self._sum_array(words.view(np.int32)).tobytes()
        return received[:length]

    def _sum_array(self, numbers: Any) -> Any:
        return self._compiled_sum(numbers)[0].numpy()

    @cached_property
    def _compiled_sum(self) -> Any:
        return tf.function(lambda numbers: self.sum([numbers]), reduce_retracing=True, autograph=False)

    @contextmanager
    def fail_together(self, advice: str = "") -> Iterator[None]:
        """See `ProcessGroup.fail_together`."""
        try:
            yield
        except _CONNECTION_ERRORS as error:
            reason = self._reason(str(error))
            raise WorkerLost(f"{reason} {advice} You can resume with any number of workers." if advice else reason) from error
        except BaseException as error:
            self._report_failure(str(error) or type(error).__name__)
            raise

    def _report_failure(self, reason: str) -> None:
        try:
            context.context().report_error_to_cluster(tf.errors.ABORTED, f"{_REASON_MARK}{reason}")
        except tf.errors.OpError as error:  # the other workers have ended already
            logger.info("The other workers could not be informed: %s", error)

    def _reason(self, message: str) -> str:
        tasks = sorted({int(number) for number in re.findall(r"/task:(\d+)", message)} - {self.shard.index})
        names = ", ".join(f"worker {task} ({self.cluster.addresses[task]})" for task in tasks if task < self.count) or "another worker"
        _, mark, reason = message.partition(_REASON_MARK)
        if mark:
            reason = reason.split("\nThe error could be from a previous operation")[0].split(" [type.googleapis")[0]
            return f"{names} has ended the run: {reason.strip()}"
        details = (message.partition(_TENSORFLOW_REASON_MARK)[2] or message).strip().partition("\n")[0]
        return f"{names} is gone: the process was killed, or its machine or network failed ({details.rstrip('.')})."


@contextmanager
def _default_interrupt() -> Iterator[None]:
    """Inside the context, Ctrl-C ends the program at once. Python's own handler would wait for TensorFlow and the other workers."""
    previous = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
