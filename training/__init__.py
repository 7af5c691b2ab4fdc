"""Fine-tune detectors on VOC-style data sets."""

import os

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # TensorFlow disables oneDNN on AMD CPUs; must be set before TensorFlow is imported
