"""Worker addresses, and the workers' shards of batches and of dropout noise."""

import json
import re
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from training.config.options import Config
from training.data.batches import Batches
from training.data.voc_reader import read_set
from training.distributed.cluster import Cluster
from training.distributed.process_group import Shard
from training.errors import ConfigError
from training.modeling.layers.dropout import shard_dropout
from training.modeling.transfer import transfer

DOCUMENTED = (Path(__file__).resolve().parents[3] / "docs" / "training.md").read_text(encoding="utf-8")
TWO = "one:2222,two:2222"


def tf_config(cluster, kind, index):
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})}


@pytest.mark.parametrize(
    ("options", "environment", "expected"),
    [
        ((None, None), {}, None),
        ((None, None), {"JOB_COMPLETION_INDEX": "1"}, None),
        ((TWO, 1), {}, Cluster(("one:2222", "two:2222"), 1)),
        (("[::1]:2222, 10.0.0.2:80", 0), {}, Cluster(("[::1]:2222", "10.0.0.2:80"), 0)),
        ((TWO, None), {"JOB_COMPLETION_INDEX": "1"}, Cluster(("one:2222", "two:2222"), 1)),
        ((TWO, 0), {"JOB_COMPLETION_INDEX": "1"}, Cluster(("one:2222", "two:2222"), 0)),
        ((TWO, 0), tf_config({"worker": ["other:1"]}, "worker", 0), Cluster(("one:2222", "two:2222"), 0)),
        ((None, None), tf_config({"worker": ["one:1", "two:2"]}, "worker", 1), Cluster(("one:1", "two:2"), 1)),
        ((None, None), tf_config({"chief": ["one:1"], "worker": ["two:2"]}, "chief", 0), Cluster(("one:1", "two:2"), 0)),
        ((None, None), tf_config({"chief": ["one:1"], "worker": ["two:2"]}, "worker", 0), Cluster(("one:1", "two:2"), 1)),
    ],
)
def test_cluster_comes_from_options_or_tf_config(options, environment, expected):
    assert Cluster.from_options(*options, environment) == expected


@pytest.mark.parametrize(
    ("options", "environment", "message"),
    [
        (("one:2222,two", 0), {}, "'two' is not HOST:PORT"),
        (("one:2222,two:70000", 0), {}, "'two:70000' is not HOST:PORT"),
        (("one:2222,one:2222", 0), {}, "an address appears twice"),
        ((TWO, 2), {}, "2 is not between 0 and 1"),
        ((TWO, -1), {}, "-1 is not between 0 and 1"),
        ((TWO, None), {}, "add --worker-index"),
        ((None, 1), {}, "worker_index requires --workers"),
        ((None, None), {"TF_CONFIG": "{"}, "expected a cluster of workers"),
        ((None, None), {"TF_CONFIG": "[]"}, "expected a cluster of workers"),
        ((None, None), tf_config({"worker": ["one:1"]}, "ps", 0), "task type 'ps' is not supported"),
    ],
)
def test_an_invalid_cluster_is_refused(options, environment, message):
    with pytest.raises(ConfigError, match=message):
        Cluster.from_options(*options, environment)


@pytest.mark.parametrize(("images", "workers"), [(8, 2), (7, 2), (7, 3), (3, 3), (8, 1)])
def test_the_shards_in_order_are_the_batch(images, workers):
    shards = [Shard(index, workers).of(images) for index in range(workers)]
    assert [image for shard in shards for image in shard] == list(range(images))
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


@pytest.mark.parametrize("options", [{"multi_scale": 1}, {"cache_features": 2, "unfreeze_at": 2.0}])
def test_the_shards_of_all_workers_equal_the_batch_of_one_process(rectangles, tiny_model, options):
    config = Config(batch_size=7, epochs=9, sizes="64:0.5,96", freeze="conv1", **options)
    spec = transfer(tiny_model, ("blue", "red"), tiny_model.spec.anchors, config).model.spec
    whole = Batches(read_set(rectangles, "train"), spec, config)
    parts = [replace(whole, shard=Shard(index, 3)) for index in range(3)]
    for step in (0, 1, 5, 17):
        images, targets = whole.batch(step)
        shared = [part.batch(step) for part in parts]
        np.testing.assert_array_equal(np.concatenate([features for features, _ in shared]), images)
        for name, array in targets.items():
            np.testing.assert_array_equal(np.concatenate([target[name] for _, target in shared]), array)


@pytest.mark.parametrize("kind", [keras.layers.SpatialDropout2D, keras.layers.AlphaDropout])
def test_dropout_on_shards_equals_dropout_on_the_batch(kind):
    images = np.random.default_rng(0).standard_normal((5, 4, 4, 8)).astype(np.float32)
    whole = kind(0.4, seed=3)
    shards = [Shard(index, 2) for index in range(2)]
    parts = [shard_dropout(kind, shard, 5)(0.4, seed=3) for shard in shards]
    for _ in range(2):
        dropped = np.concatenate([part(images[list(shard.of(5))], training=True) for part, shard in zip(parts, shards, strict=True)])
        np.testing.assert_array_equal(dropped, whole(images, training=True))
    np.testing.assert_array_equal(parts[0](images[:2], training=False), images[:2])


def test_the_documented_commands_start_two_workers():
    lines = re.findall(r"^\$ boxwright finetune mydata --workers (\S+) --worker-index (\d)$", DOCUMENTED, re.MULTILINE)
    clusters = [Cluster.from_options(workers, int(index), {}) for workers, index in lines]
    assert [cluster.index for cluster in clusters] == [0, 1]
    assert clusters[0].addresses == clusters[1].addresses
