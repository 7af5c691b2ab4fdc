"""How many threads compute a layer. Sums are grouped by them, so the last bits of a run depend on their number."""

import os

import tensorflow as tf


def arithmetic_threads() -> int:
    """What TensorFlow takes: what it was told, else TF_NUM_INTRAOP_THREADS, else the processors that this process may run on."""
    variable = os.environ.get("TF_NUM_INTRAOP_THREADS", "")
    told = tf.config.threading.get_intra_op_parallelism_threads() or (int(variable) if variable.isdecimal() else 0)
    return told or len(os.sched_getaffinity(0))
