"""Variants that docs/techniques.md compares: each technique as a change to one short run."""

from typing import Any

BASE: dict[str, Any] = {"epochs": 4, "sizes": "128", "check_every": 1, "unfreeze_at": 4, "cache_features": 4}
BASE |= {"warmup_steps": 10, "learning_rate": 0.0003}
"""Options of the base run. All other options have their defaults. The run is short, to show which variant learns faster. The backbone stays
frozen and its features are cached, so that all variants together take an hour and a half on two cores."""

COMPUTED: dict[str, Any] = {"cache_features": 0}
"""Without a feature cache: the backbone computes every image in each epoch, so the number of augmented views is not limited."""
UNFROZEN: dict[str, Any] = COMPUTED | {"freeze": "none"}
NEW_HEAD: dict[str, Any] = {"new_layers": "head", "learning_rate": 0.001, "epochs": 10, "check_every": 2, "unfreeze_at": 10}
"""A new head needs more epochs."""
LONG: dict[str, Any] = {"epochs": 12, "unfreeze_at": 12}
SCRATCH: dict[str, Any] = UNFROZEN | {"new_layers": "all", "learning_rate": 0.001}

RATES = {"adamw": 4.5e-3, "adam": 4.5e-3, "rmsprop": 4.9e-5, "adagrad": 2.9e-2, "sgd": 2.4e-2, "momentum": 2.4e-3, "nesterov": 1.1e-3}
"""Suggestions of `boxwright finetune raccoon --optimizer NAME --freeze backbone --sizes 128 --epochs 4 --find-learning-rate`."""

VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "Transfer": {
        "the base: backbone frozen throughout, features cached": {},
        "backbone frozen for the first fifth of the run": COMPUTED | {"unfreeze_at": 0.8},
        "nothing frozen": UNFROZEN,
        "all but the output frozen throughout": {"freeze": "all-but-head"},
        "all layers initialised anew": SCRATCH,
    },
    "Loss": {
        "darknet's squared errors": {"loss": "darknet", "prior_photos": 0},
        "anchors clustered again": {"anchors": "kmeans"},
    },
    "Initialization and activation of a new head": {
        "He, leaky": NEW_HEAD,
        "Glorot": NEW_HEAD | {"init": "glorot"},
        "LeCun": NEW_HEAD | {"init": "lecun"},
        "He, ReLU": NEW_HEAD | {"activation": "relu"},
        "He, ELU": NEW_HEAD | {"activation": "elu"},
        "LeCun, SELU": NEW_HEAD | {"activation": "selu", "init": "lecun"},
        "LeCun, SELU, no batch norm, alpha dropout 0.05, a tenth of the rate": NEW_HEAD
        | {"activation": "selu", "init": "lecun", "batch_norm": "off", "dropout": 0.05, "learning_rate": 0.0001},
    },
    "Batch norm, dropout, decay": {
        "batch norm trained, nothing frozen": UNFROZEN | {"batch_norm": "train"},
        "no batch norm: folded into the kernels": {"batch_norm": "off"},
        "new head without batch norm": NEW_HEAD | {"batch_norm": "off"},
        "new head without batch norm, a tenth of the rate": NEW_HEAD | {"batch_norm": "off", "learning_rate": 0.0001},
        "spatial dropout 0.2 in the head": {"dropout": 0.2},
        "no weight decay": {"weight_decay": 0.0},
        "L2 of 0.0005 in the loss": {"l2": 0.0005, "weight_decay": 0.0},
    },
    "Gradient clipping": {
        "none": {"clip": "none"},
        "by value, 1": {"clip": "value", "clip_at": 1.0},
        "by each array's norm, 1": {"clip": "norm", "clip_at": 1.0},
        "none, ten times the rate": {"clip": "none", "learning_rate": 0.003},
        "global norm, ten times the rate": {"learning_rate": 0.003},
    },
    "Optimizers, each at the rate that --find-learning-rate suggests": {
        "adamw": {"learning_rate": RATES["adamw"]},
        "adam": {"optimizer": "adam", "weight_decay": 0.0, "learning_rate": RATES["adam"]},
        "rmsprop": {"optimizer": "rmsprop", "learning_rate": RATES["rmsprop"]},
        "adagrad": {"optimizer": "adagrad", "learning_rate": RATES["adagrad"]},
        "sgd": {"optimizer": "sgd", "learning_rate": RATES["sgd"]},
        "momentum": {"optimizer": "momentum", "learning_rate": RATES["momentum"]},
        "nesterov": {"optimizer": "nesterov", "learning_rate": RATES["nesterov"]},
    },
    "Schedules": {
        "constant": {"schedule": "constant"},
        "piecewise": {"schedule": "piecewise"},
        "power": {"schedule": "power"},
        "exponential": {"schedule": "exponential"},
        "performance": {"schedule": "performance", "plateau_patience": 1},
        "one cycle": {"schedule": "one-cycle"},
        "no warm-up": {"warmup_steps": 0},
    },
    "Averages and augmentation": {
        "no moving average of the weights": {"ema": 0.0},
        "no mosaic": {"mosaic": 0.0},
        "no augmentation at all": {
            "mosaic": 0.0, "scale": 0.0, "aspect": 0.0, "translate": 0.0, "flip": 0.0, "hue": 0.0, "saturation": 1.0, "exposure": 1.0,
        },
        "progressive: 96 pixels for half of the run": {"sizes": "96:0.5,128"},
        "multi-scale, one stride up and down": COMPUTED | {"multi_scale": 1},
        "three times as long": LONG,
        "three times as long, early stopping after 2 validations without improvement": LONG | {"patience": 2},
    },
}  # fmt: skip
