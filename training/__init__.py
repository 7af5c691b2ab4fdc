"""Fine-tune detectors on VOC-style data sets."""

import os

# Set this before TensorFlow is imported: by default, TensorFlow disables oneDNN on CPUs without VNNI.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
