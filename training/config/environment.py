"""Facts about this machine that affect the last bits of trained weights."""

import os
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("boxwright", "numpy", "pillow", "tensorflow", "keras", "onnxruntime")


def package_versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Return the installed version of each package."""
    versions = {}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed as a package"
    return versions


def intra_op_threads() -> int:
    """Return the number of threads that TensorFlow uses inside one operation.

    Floating-point sums are grouped by thread, so results depend on this number. It is TensorFlow's own setting if that is set, else
    TF_NUM_INTRAOP_THREADS, else the number of processors available to this process.
    """
    import tensorflow as tf  # the rest of this module does not need it

    variable = os.environ.get("TF_NUM_INTRAOP_THREADS", "")
    configured = tf.config.threading.get_intra_op_parallelism_threads() or (int(variable) if variable.isdecimal() else 0)
    return configured or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
