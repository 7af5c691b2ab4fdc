"""Fine-tuning on VOC-style data."""

import os

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # before any module here imports TensorFlow: on AMD CPUs it is off, and training slower
