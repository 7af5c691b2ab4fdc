"""Every option of a training run, its range and what it means: written once, read by the command line, by TOML and by the code."""

import json
import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from training.errors import ConfigError

Number = TypeVar("Number", int, float)


class Scales(NamedTuple):
    """Weights of the loss's terms."""

    object: float
    noobject: float
    class_: float
    coord: float


DEFAULT_SCALES = {"modern": Scales(1.0, 0.5, 1.0, 2.5), "darknet": Scales(5.0, 1.0, 1.0, 1.0)}
"""Darknet's weights suit its squared errors. Under cross-entropies they would let objectness drown boxes and classes."""


class Config(BaseModel):
    """The options of one run. Raises ConfigError through `of` and `read`; see each field's description."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    # the run
    epochs: int = Field(20, ge=1, le=10_000, description="How often every photo is seen.")
    batch_size: int = Field(8, ge=1, le=1024, description="Photos in a step.")
    seed: int = Field(0, ge=0, le=2**31, description="The same seed gives the same weights, bit by bit.")
    overfit: int = Field(0, ge=0, description="Train and check on this many photos, unaugmented: a self-check. 0: off.")
    labels: str = Field("", description="The new model's labels, separated by commas. Empty: those of the training set, sorted.")
    check_every: int = Field(2, ge=1, description="Epochs from one check on the validation set to the next.")
    patience: int = Field(0, ge=0, description="Stop after this many checks without progress. 0: never.")
    watch: Literal["ap", "ap-frequent", "ap-weighted", "loss"] = Field(
        "ap",
        description="Choose the best by AP50: mean of all classes, of those with 19 boxes or more, or weighted by boxes; or by loss.",
    )
    checkpoint_steps: int = Field(100, ge=1, description="Steps from one checkpoint to the next.")
    tensorboard: bool = Field(True, description="Write what is measured for TensorBoard too, into the run's folder.")

    # what the network sees
    sizes: str = Field("224:0.5,288", description="Input sizes: '224:0.5,288' is 224 pixels for half of the run, then 288.")
    multi_scale: int = Field(0, ge=0, le=10, description="Every 10 batches choose a size up to this many times 32 pixels away. 0: off.")
    repeat_rare: float = Field(
        0.0, ge=0, le=1, description="Show images with a class that fewer than this share of the images have more often. 0: off."
    )
    mosaic: float = Field(0.3, ge=0, le=1, description="Share of training pictures that are made of four photos.")
    mosaic_until: float = Field(0.8, ge=0, le=1, description="Share of the run after which there is no mosaic any more.")
    scale: float = Field(
        0.4, ge=0, le=2, description="The part of a photo that is shown is up to e^scale larger or smaller than the photo."
    )
    aspect: float = Field(0.15, ge=0, le=1, description="Its sides are stretched against each other by up to e^aspect.")
    translate: float = Field(0.15, ge=0, le=1, description="It is moved by up to this share of the photo's sides.")
    flip: float = Field(0.5, ge=0, le=1, description="Share of pictures that are mirrored.")
    flip_vertical: float = Field(0.0, ge=0, le=1, description="Share of pictures that are turned upside down: for microscopes and maps.")
    hue: float = Field(0.05, ge=0, le=0.5, description="Hue is turned by up to this share of the colour circle.")
    saturation: float = Field(1.5, ge=1, le=10, description="Saturation is multiplied or divided by up to this.")
    exposure: float = Field(1.5, ge=1, le=10, description="Brightness is multiplied or divided by up to this.")
    min_visible: float = Field(0.3, ge=0, le=1, description="A box of which less than this share is shown is left out.")

    # what is kept of the model one starts from
    network: Literal["model", "darknet19", "tiny", "efficientnet-lite0"] = Field(
        "model", description="The network of the model one starts from; or this stem, untrained, with YOLOv2's head upon it."
    )
    width: float = Field(1.0, gt=0, le=4, description="darknet19, untrained: filters of its layers are multiplied by this.")
    head: Literal["keep", "yolov2", "fine"] = Field(
        "keep",
        description="Keep the model's head or make a new one: yolov2 (stride 32), or fine (stride 16) for small objects.",
    )
    head_filters: int = Field(384, ge=1, le=4096, description="Width of a new head.")
    freeze: str = Field("backbone", description="none, backbone, all-but-head, or a layer: it and all before it stay as they are.")
    unfreeze_at: float = Field(
        4.0, ge=0, description="Epoch after which what was frozen trains too; as many as there are epochs, or more: never."
    )
    cache_features: int = Field(
        0, ge=0, le=1000, description="Views of each photo of which the frozen layers' outputs are kept on disk, not computed anew. 0: off."
    )
    cache_gigabytes: float = Field(8.0, gt=0, description="The most that kept features, of all runs, may take on disk.")
    batch_norm: Literal["frozen", "head", "train", "off"] = Field(
        "frozen",
        description="Train no batch norm, that of the head, or all; off folds it into the kernels. New layers always train theirs.",
    )
    new_layers: Literal["output", "head", "all"] = Field("output", description="What starts anew: outputs of new labels, head, everything.")
    init: Literal["he", "glorot", "lecun"] = Field("he", description="How new layers are initialised.")
    init_mode: Literal["default", "fan_in", "fan_avg"] = Field(
        "default", description="Fan that is counted. default: glorot avg, others in."
    )
    init_distribution: Literal["normal", "uniform"] = Field("normal", description="Distribution of new weights.")
    activation: Literal["keep", "leaky", "relu", "elu", "selu"] = Field("keep", description="Of new layers; selu wants init=lecun.")
    dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Channels dropped after each hidden convolution of the head (spatial dropout; after selu, alpha dropout).",
    )
    anchors: Literal["keep", "kmeans"] = Field(
        "keep", description="Keep the model's, or cluster the training boxes (IoU k-means), as for a new head."
    )

    anchor_count: int = Field(5, ge=1, le=20, description="Number of anchors of a new head.")
    assign_iou: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Train all anchors of an object's cell whose shape has an IoU with it above this. 1: only the best anchor.",
    )

    # what is minimised
    loss: Literal["darknet", "modern"] = Field("modern", description="Darknet's squared errors, or CIoU and cross-entropies.")
    loss_norm: Literal["auto", "objects", "images"] = Field(
        "auto", description="Divide the loss by the objects or by the images of the batch. auto: objects if modern, images if darknet."
    )
    object_scale: float | None = Field(None, ge=0, description="Weight of objectness where there is an object. None: 1 (darknet 5).")
    noobject_scale: float | None = Field(None, ge=0, description="Weight of objectness where there is none. None: 0.5 (darknet 1).")
    class_scale: float | None = Field(None, ge=0, description="Weight of the classes. None: 1.")
    coord_scale: float | None = Field(None, ge=0, description="Weight of the boxes. None: 2.5 (darknet 1).")
    rescore: bool = Field(True, description="Objectness learns the box's IoU with the truth, not 1.")
    difficult: Literal["ignore", "train", "background"] = Field(
        "ignore", description="Difficult and crowd boxes: neither object nor background, objects, or background."
    )
    ignore_iou: float = Field(
        0.6, ge=0, le=1, description="A box that overlaps a truth by more is no mistake, though another is responsible."
    )
    prior_photos: int = Field(12_800, ge=0, description="darknet: over the first photos every box is drawn to its anchor.")
    l2: float = Field(0.0, ge=0, description="Half of this times the squared kernels is added to the loss.")

    # how it is minimised
    optimizer: Literal["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw"] = Field("adamw", description="Keras's own.")
    learning_rate: float = Field(0.0003, gt=0, le=10, description="The highest of the schedule.")
    head_rate: float = Field(1.0, ge=0, le=10, description="Multiply the learning rate of the head by this; new outputs train at 1.")
    backbone_rate: float = Field(0.15, ge=0, le=10, description="Multiply the learning rate of the backbone by this.")
    momentum: float = Field(0.9, ge=0, lt=1, description="Of momentum and nesterov.")
    weight_decay: float = Field(0.01, ge=0, le=1, description="Kernels shrink by this times the learning rate in each step (decoupled).")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="Of the arithmetic; weights and output stay float32. bfloat16: quicker with AVX512_BF16 or AMX.",
    )
    clip: Literal["none", "value", "norm", "global-norm"] = Field("global-norm", description="How gradients are clipped.")
    clip_at: float = Field(10.0, gt=0, description="The largest value, norm of one array, or norm of all.")
    schedule: Literal["constant", "piecewise", "power", "exponential", "performance", "cosine", "one-cycle"] = Field(
        "cosine", description="How the learning rate goes over the run."
    )
    decay_share: float = Field(0.25, gt=0, le=1, description="power, exponential: share of the run after which it is 1/2, 1/10.")
    pieces: str = Field("0.6:0.1,0.85:0.01", description="piecewise: '0.6:0.1' is a tenth after 60 % of the run.")
    plateau_patience: int = Field(3, ge=1, description="performance: checks without progress before the rate is cut.")
    plateau_factor: float = Field(0.5, gt=0, lt=1, description="performance: what it is multiplied by.")
    warmup_steps: int = Field(30, ge=0, description="Steps over which the learning rate rises from 0.")
    ema: float = Field(
        0.99, ge=0, lt=1, description="Checked and saved are moving averages of the weights with this decay. 0: the weights."
    )

    @model_validator(mode="after")
    def _parts_agree(self) -> "Config":
        self.size_plan()
        self.rate_pieces()
        if self.activation == "selu" and self.init != "lecun":
            raise ValueError("activation selu keeps its mean and variance only with init lecun; add --init lecun.")
        if self.network != "model" and self.freeze != "none":
            raise ValueError(f"network {self.network} is untrained: frozen layers would stay at random. Add --freeze none.")
        if self.width != 1 and self.network != "darknet19":
            raise ValueError("width is that of an untrained darknet19; add --network darknet19.")
        if self.activation != "keep" and self.new_layers == "output" and self.network == "model":
            raise ValueError("activation is that of new hidden layers; with new_layers output there are none. Add --new-layers head.")
        if self.cache_features and (self.freeze == "none" or self.unfreeze_at == 0 or self.multi_scale):
            raise ValueError(
                "cache_features keeps what frozen layers say at the sizes of the plan: "
                "it goes with a freeze other than none, an unfreeze_at above 0, and multi_scale 0."
            )
        return self

    @classmethod
    def of(cls, values: Mapping[str, Any], where: str = "options") -> "Config":
        """Values by name -> a checked Config. Raises ConfigError, which names the option, what it got and what it wants."""
        if unknown := sorted(set(values) - set(cls.model_fields)):
            raise ConfigError(f"{where}: there is no option {unknown[0]!r}; there are {', '.join(cls.model_fields)}.")
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(map(str, first["loc"]))
            got = f"{name}: {first['msg']}, got {first['input']!r}" if name else first["msg"].removeprefix("Value error, ")
            raise ConfigError(f"{where}: {got}") from error

    @classmethod
    def read(cls, path: Path, changed: Mapping[str, Any] | None = None) -> "Config":
        """The options in a TOML file, with some of them changed. Raises ConfigError, OSError."""
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: not readable as TOML: {error}.") from error
        return cls.of(values | dict(changed or {}), str(path))

    def to_toml(self) -> str:
        """Every option with its description; `read` takes it back. TOML has no null, so an option that is None is a comment."""
        lines = []
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            lines += [f"# {field.description}\n", f"# {name} is None\n" if value is None else f"{name} = {_in_toml(value)}\n"]
        return "".join(lines)

    @property
    def scales(self) -> Scales:
        """Weights of the loss's terms, with the loss form's defaults for those that are None."""
        given = (self.object_scale, self.noobject_scale, self.class_scale, self.coord_scale)
        return Scales(*(default if scale is None else scale for scale, default in zip(given, DEFAULT_SCALES[self.loss], strict=True)))

    @property
    def normalises_by_images(self) -> bool:
        """Whether sums over a batch are divided by its images, and not by its objects."""
        return self.loss == "darknet" if self.loss_norm == "auto" else self.loss_norm == "images"

    def size_plan(self) -> tuple[tuple[float, int], ...]:
        """((share of the run until which, input size), ...), the last share 1."""
        *before, last = self.sizes.split(",")
        plan = (*((share, size) for size, share in _pairs("sizes", ",".join(before), int)), (1.0, _number("sizes", last, int)))
        if any(not 0 < size <= 2048 or not 0 < share <= 1 for share, size in plan) or list(plan) != sorted(plan, key=lambda pair: pair[0]):
            raise ValueError(f"sizes are 1 to 2048 pixels with rising shares of the run, such as 224:0.5,288; got {self.sizes!r}.")
        return plan

    def rate_pieces(self) -> tuple[tuple[float, float], ...]:
        """((share of the run from which, factor), ...)."""
        pieces = _pairs("pieces", self.pieces, float)
        if list(pieces) != sorted(pieces) or any(not 0 <= share <= 1 or factor < 0 for share, factor in pieces):
            raise ValueError(f"pieces are factors with rising shares of the run, such as 0.6:0.1,0.85:0.01; got {self.pieces!r}.")
        return pieces


def _pairs(name: str, text: str, kind: type[Number]) -> tuple[tuple[Number, float], ...]:
    """'a:b,c:d' -> ((a, b), (c, d)); b and d are floats."""
    parts = [part.partition(":") for part in text.split(",") if part.strip()]
    return tuple((_number(name, first, kind), _number(name, second, float)) for first, _, second in parts)


def _number(name: str, text: str, kind: type[Number]) -> Number:
    try:
        number = kind(text)
    except ValueError as error:
        raise ValueError(f"{name}: {text.strip()!r} is no number; see the option's help for its form.") from error
    if not math.isfinite(number):
        raise ValueError(f"{name}: {text.strip()!r} is no number of use; see the option's help for its form.")
    return number


def _in_toml(value: Any) -> str:
    """JSON's numbers, booleans and strings are TOML's too, but for characters beyond ASCII and the one that JSON does not escape."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
