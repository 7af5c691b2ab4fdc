"""The options of a training run with ranges and descriptions. The command line, TOML files and the code use them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from training.config.loss_scales import DEFAULT_SCALES, Scales
from training.config.text import parse_number, parse_pairs, read_toml, toml_value
from training.errors import ConfigError

DEFAULT_FROZEN_EPOCHS = 4.0  # Default of `unfreeze_at` if no class is kept and no memory is used.


class Config(BaseModel):
    """The options of one run. `of` and `read` raise ConfigError for invalid values."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    # the run
    epochs: int = Field(20, ge=1, le=10_000, description="Passes over the training set. A small training set gets more by default.")
    batch_size: int = Field(8, ge=1, le=1024, description="Images per step, over all workers.")
    seed: int = Field(0, ge=0, le=2**31, description="The same seed gives the same weights, bit for bit.")
    overfit: int = Field(
        0, ge=0, description="Train and validate on this many images without augmentation, as a self-check. 0 disables it."
    )
    labels: str = Field("", description="Labels of the new model, separated by commas. Empty: the labels of the training set, sorted.")
    classes: Literal["auto", "keep", "replace"] = Field(
        "auto",
        description="Keep the classes of the initial model and add new ones, or replace them. "
        "auto: keep if it has a memory, its backbone stays frozen, and head and anchors are kept.",
    )
    memory: int = Field(
        400, ge=0, le=20_000, description="Remember at most this many images in the new model, so that classes can be added later."
    )
    memory_share: float = Field(
        2.0, ge=0, le=8, description="Remembered images per training image in every batch. 0 does not use the initial model's memory."
    )
    check_every: int = Field(2, ge=1, description="Validate every N epochs.")
    patience: int = Field(0, ge=0, description="Stop after N validations without improvement. 0 disables it.")
    watch: Literal["ap", "ap-frequent", "ap-weighted", "loss"] = Field(
        "ap",
        description="Choose the best weights by AP50 of all classes, of classes with at least 19 boxes, or weighted by boxes; or by loss.",
    )
    checkpoint_steps: int = Field(100, ge=1, description="Save a checkpoint every N steps.")
    tensorboard: bool = Field(True, description="Write TensorBoard event files to the run's folder.")

    # network input
    sizes: str = Field("224:0.5,288", description="Input sizes. '224:0.5,288' trains with 224 pixels for half of the run, then with 288.")
    multi_scale: int = Field(
        0, ge=0, le=10, description="Every 10 batches, change the input size by up to N times 32 pixels. 0 disables it."
    )
    repeat_rare: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Use images of rare classes more often. A class in less than this fraction of the images is rare. 0 disables it.",
    )
    mosaic: float = Field(0.3, ge=0, le=1, description="Fraction of the training images that are mosaics of four images.")
    mosaic_until: float = Field(0.8, ge=0, le=1, description="Fraction of the run after which no more mosaics are made.")
    scale: float = Field(0.4, ge=0, le=2, description="Zoom in or out by a random factor of up to e^scale.")
    aspect: float = Field(0.15, ge=0, le=1, description="Change the aspect ratio by a random factor of up to e^aspect.")
    translate: float = Field(0.15, ge=0, le=1, description="Shift the image by up to this fraction of its sides.")
    flip: float = Field(0.5, ge=0, le=1, description="Fraction of the training images that are mirrored left to right.")
    flip_vertical: float = Field(
        0.0, ge=0, le=1, description="Fraction of the training images that are mirrored top to bottom, for microscopy and aerial images."
    )
    hue: float = Field(0.05, ge=0, le=0.5, description="Shift the hue by up to this fraction of the colour circle.")
    saturation: float = Field(1.5, ge=1, le=10, description="Multiply or divide the saturation by up to this factor.")
    exposure: float = Field(1.5, ge=1, le=10, description="Multiply or divide the brightness by up to this factor.")
    min_visible: float = Field(0.3, ge=0, le=1, description="Drop a box if less than this fraction of it remains after augmentation.")

    # initial model
    network: Literal["model", "darknet19", "tiny", "efficientnet-lite0"] = Field(
        "model", description="Network of the initial model, or an untrained backbone with a new head."
    )
    width: float = Field(1.0, gt=0, le=4, description="Multiply the filters of an untrained darknet19 by this factor.")
    head: Literal["keep", "yolov2", "fine"] = Field(
        "keep", description="Keep the model's head or make a new one: yolov2 (stride 32), or fine (stride 16) for small objects."
    )
    head_filters: int = Field(384, ge=1, le=4096, description="Number of filters of a new head.")
    freeze: str = Field(
        "backbone",
        description="Layers not trained at first: none, backbone, all-but-head (all but the output layer), or a layer and all before it.",
    )
    unfreeze_at: float | None = Field(
        None,
        ge=0,
        description="Epoch from which frozen layers are trained. If it is at least the number of epochs, they stay frozen. "
        "Default: 4, or never if classes are kept or a memory is used.",
    )
    cache_features: int | None = Field(
        None,
        ge=0,
        le=1000,
        description="Augmented views per image with features cached on disk. 0 disables the cache. "
        "Default: 0, or 4 if classes are kept or a memory is used, and other options permit it.",
    )
    cache_gigabytes: float = Field(8.0, gt=0, description="Maximum disk space of cached features, for all runs together.")
    batch_norm: Literal["frozen", "head", "train", "off"] = Field(
        "frozen",
        description="Train the batch norm of new layers (frozen), also the head's (head), or all (train). off folds it into the kernels.",
    )
    new_layers: Literal["output", "head", "all"] = Field(
        "output", description="Layers that start with new weights: outputs of new labels, head, or all."
    )
    init: Literal["he", "glorot", "lecun"] = Field("he", description="Initialisation of new layers.")
    init_mode: Literal["default", "fan_in", "fan_avg"] = Field(
        "default", description="Fan mode of the initialisation. default: fan_avg for glorot, else fan_in."
    )
    init_distribution: Literal["normal", "uniform"] = Field("normal", description="Distribution of new weights.")
    activation: Literal["keep", "leaky", "relu", "elu", "selu"] = Field(
        "keep", description="Activation of new layers. selu requires init lecun."
    )
    dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Fraction of channels dropped after each hidden convolution of the head (spatial dropout; alpha dropout after selu).",
    )
    anchors: Literal["keep", "kmeans"] = Field(
        "keep", description="Keep the model's anchors, or cluster the training boxes (k-means by IoU), as for a new head."
    )
    anchor_count: int = Field(5, ge=1, le=20, description="Number of anchors of a new head.")
    assign_iou: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Also train other anchors of an object's cell whose shape IoU with the object exceeds this. 1: only the best anchor. "
        "Default: 1, or that of the initial model's training if classes are kept.",
    )
    distillation: float = Field(
        1.0, ge=0, le=100, description="If classes are kept: weight of the loss that preserves the outputs of the initial model."
    )
    rarity: float = Field(
        16.0, ge=1, le=1000, description="If classes are kept: how many times rarer new objects are in practice than in training."
    )

    # loss
    loss: Literal["darknet", "modern"] = Field("modern", description="darknet: squared errors; modern: CIoU and cross-entropies.")
    loss_norm: Literal["auto", "objects", "images"] = Field(
        "auto", description="Divide the loss by the objects or by the images of the batch. auto: objects if modern, images if darknet."
    )
    object_scale: float | None = Field(None, ge=0, description="Weight of objectness where there is an object. Default: 1 (darknet 5).")
    noobject_scale: float | None = Field(None, ge=0, description="Weight of objectness where there is no object. Default: 0.5 (darknet 1).")
    class_scale: float | None = Field(None, ge=0, description="Weight of the class loss. Default: 1.")
    coord_scale: float | None = Field(None, ge=0, description="Weight of the box loss. Default: 2.5 (darknet 1).")
    rescore: bool = Field(True, description="Train objectness towards the IoU of the predicted box instead of 1.")
    difficult: Literal["ignore", "train", "background"] = Field(
        "ignore", description="Treat difficult and crowd boxes as neither object nor background, as objects, or as background."
    )
    ignore_iou: float = Field(
        0.6,
        ge=0,
        le=1,
        description="Predictions above this IoU with any ground-truth box are not penalised as background; modern: they learn its class.",
    )
    prior_photos: int = Field(
        12_800, ge=0, description="darknet: number of images during which predictions without an object are pulled towards their anchors."
    )
    l2: float = Field(0.0, ge=0, description="Add half of this times the squared kernels to the loss.")

    # optimization
    optimizer: Literal["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw"] = Field(
        "adamw", description="Keras optimizer."
    )
    learning_rate: float = Field(0.0003, gt=0, le=10, description="Maximum learning rate of the schedule.")
    head_rate: float = Field(1.0, ge=0, le=10, description="Multiply the head's learning rate by this, except in layers with new outputs.")
    backbone_rate: float = Field(0.15, ge=0, le=10, description="Multiply the learning rate of the backbone by this.")
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of the optimizers momentum and nesterov.")
    weight_decay: float = Field(0.01, ge=0, le=1, description="Decay of kernels per step, multiplied by the learning rate (decoupled).")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="Precision of the computation; weights and outputs are float32. bfloat16 is faster with AVX512_BF16 or AMX."
    )
    clip: Literal["none", "value", "norm", "global-norm"] = Field("global-norm", description="Gradient clipping.")
    clip_at: float = Field(10.0, gt=0, description="Maximum value, norm of one array, or norm of all gradients.")
    schedule: Literal["constant", "piecewise", "power", "exponential", "performance", "cosine", "one-cycle"] = Field(
        "cosine", description="Learning-rate schedule."
    )
    decay_share: float = Field(0.25, gt=0, le=1, description="power, exponential: fraction of the run after which the rate is 1/2 or 1/10.")
    pieces: str = Field("0.6:0.1,0.85:0.01", description="piecewise: '0.6:0.1' multiplies the rate by 0.1 after 60 % of the run.")
    plateau_patience: int = Field(3, ge=1, description="performance: validations without improvement before the rate is lowered.")
    plateau_factor: float = Field(0.5, gt=0, lt=1, description="performance: factor by which the rate is lowered.")
    warmup_steps: int = Field(30, ge=0, description="Steps in which the learning rate rises from 0, at most a tenth of the run.")
    ema: float = Field(
        0.99,
        ge=0,
        lt=1,
        description="Decay of the moving averages of the weights, which are validated and saved. 0 uses the weights themselves.",
    )

    @model_validator(mode="after")
    def _check_combinations(self) -> "Config":
        self.size_plan()
        self.rate_pieces()
        if self.activation == "selu" and self.init != "lecun":
            raise ValueError("activation selu requires init lecun, which keeps mean and variance. Add --init lecun.")
        if self.network != "model" and self.freeze != "none":
            raise ValueError(f"network {self.network} is untrained, so no layer can be frozen. Add --freeze none.")
        if self.width != 1 and self.network != "darknet19":
            raise ValueError("width changes an untrained darknet19 only. Add --network darknet19.")
        if self.activation != "keep" and self.new_layers == "output" and self.network == "model" and self.head == "keep":
            raise ValueError("activation changes only new hidden layers, and this run has none. Add --new-layers head or --head yolov2.")
        if self.views and (self.freeze == "none" or self.unfreeze_at == 0 or self.multi_scale):
            raise ValueError(
                "cache_features stores the outputs of frozen layers at the planned input sizes. "
                "It requires frozen layers (freeze, unfreeze_at above 0) and multi_scale 0."
            )
        return self

    @classmethod
    def of(cls, values: Mapping[str, Any], where: str = "options") -> "Config":
        """Validate option values.

        Args:
            values: Values by option name.
            where: Source of the values, for error messages.

        Raises:
            ConfigError: An option is unknown or its value is invalid.
        """
        if unknown := sorted(set(values) - set(cls.model_fields)):
            raise ConfigError(f"{where}: unknown option {unknown[0]!r}. Options: {', '.join(cls.model_fields)}.")
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(map(str, first["loc"]))
            got = f"{name}: {first['msg']}, got {first['input']!r}" if name else first["msg"].removeprefix("Value error, ")
            raise ConfigError(f"{where}: {got}") from error

    @classmethod
    def read(cls, path: Path, changed: Mapping[str, Any] | None = None) -> "Config":
        """Read the options of a TOML file and replace those in `changed`. Raises ConfigError, OSError."""
        try:
            values = read_toml(path)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{path}: not readable as TOML: {error}.") from error
        return cls.of(values | dict(changed or {}), str(path))

    def to_toml(self) -> str:
        """Return the TOML text of all options with descriptions. TOML has no null, so an option that is None becomes a comment."""
        lines = []
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            lines += [f"# {field.description}\n", f"# {name} is None\n" if value is None else f"{name} = {toml_value(value)}\n"]
        return "".join(lines)

    @property
    def frozen_epochs(self) -> float:
        """Epoch from which frozen layers are trained."""
        return DEFAULT_FROZEN_EPOCHS if self.unfreeze_at is None else self.unfreeze_at

    @property
    def views(self) -> int:
        """Views per image with cached features, or 0."""
        return self.cache_features or 0

    @property
    def anchor_iou(self) -> float:
        """Shape IoU above which further anchors are trained."""
        return 1.0 if self.assign_iou is None else self.assign_iou

    @property
    def memory_batch_size(self) -> int:
        """Remembered images per step, over all workers."""
        return max(1, round(self.memory_share * self.batch_size)) if self.memory_share else 0

    @property
    def scales(self) -> Scales:
        """Weights of the loss terms. Those that are None have the default of the loss."""
        given = (self.object_scale, self.noobject_scale, self.class_scale, self.coord_scale)
        return Scales(*(default if scale is None else scale for scale, default in zip(given, DEFAULT_SCALES[self.loss], strict=True)))

    @property
    def normalises_by_images(self) -> bool:
        """True if the loss is divided by the images of a batch, False if by its objects."""
        return self.loss == "darknet" if self.loss_norm == "auto" else self.loss_norm == "images"

    def size_plan(self) -> tuple[tuple[float, int], ...]:
        """Return ((end, input size), ...), where `end` is a fraction of the run and the last one is 1."""
        *before, last = self.sizes.split(",")
        plan = (*((share, size) for size, share in parse_pairs("sizes", ",".join(before), int)), (1.0, parse_number("sizes", last, int)))
        if any(not 0 < size <= 2048 or not 0 < share <= 1 for share, size in plan) or list(plan) != sorted(plan, key=lambda pair: pair[0]):
            raise ValueError(
                f"sizes must be 1 to 2048 pixels with increasing fractions of the run, such as 224:0.5,288; got {self.sizes!r}."
            )
        return plan

    def rate_pieces(self) -> tuple[tuple[float, float], ...]:
        """Return ((start, factor), ...), where `start` is a fraction of the run."""
        pieces = parse_pairs("pieces", self.pieces, float)
        if list(pieces) != sorted(pieces) or any(not 0 <= share <= 1 or factor < 0 for share, factor in pieces):
            raise ValueError(
                f"pieces must be factors with increasing fractions of the run, such as 0.6:0.1,0.85:0.01; got {self.pieces!r}."
            )
        return pieces
