import math
import tomllib
from time import thread_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.config.options import Config
from training.errors import ConfigError


def test_options_survive_a_round_trip_through_toml(tmp_path):
    config = Config(epochs=7, learning_rate=3e-5, rescore=False, freeze="conv5_5", sizes="96:0.25,128:0.5,160")
    path = tmp_path / "config.toml"
    path.write_text(config.to_toml(), encoding="utf-8")
    assert Config.read(path) == config
    assert Config.read(path, {"epochs": 9}) == config.model_copy(update={"epochs": 9})


@given(labels=st.text(st.characters(codec="utf-8")), rate=st.floats(1e-9, 10), clip_at=st.floats(1e-300, 1e300), seed=st.integers(0, 2**31))
def test_all_valid_values_survive_a_round_trip_through_toml(labels, rate, clip_at, seed):
    config = Config.of({"labels": labels, "learning_rate": rate, "clip_at": clip_at, "seed": seed})
    assert Config.of(tomllib.loads(config.to_toml())) == config


def test_every_option_has_a_description():
    assert all(field.description for field in Config.model_fields.values())


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"epoch": 3}, "unknown option 'epoch'. Options: epochs, batch_size"),
        ({"epochs": 0}, "epochs: .*greater than or equal to 1, got 0"),
        ({"epochs": "many"}, "epochs: .*integer"),
        ({"optimizer": "lion"}, "optimizer: .*'sgd'.*, got 'lion'"),
        ({"sizes": "288:0.5"}, "sizes: '288:0.5' is not a number"),
        ({"sizes": "288:0.7,224:0.5,320"}, "increasing fractions"),
        ({"pieces": "0.5"}, "pieces: '' is not a number"),
        ({"pieces": "0.8:0.1,0.6:0.01"}, "increasing fractions"),
        ({"pieces": "0.6:nan"}, "pieces: 'nan' is not a finite number"),
        ({"sizes": "224:nan,288"}, "sizes: 'nan' is not a finite number"),
        ({"sizes": "224:-1,288"}, "increasing fractions"),
        ({"unfreeze_at": math.inf}, "unfreeze_at: .*finite number, got inf"),
        ({"seed": 2**40}, "seed: .*less than or equal to 2147483648"),
        ({"activation": "selu", "new_layers": "head"}, "init lecun"),
        ({"activation": "elu"}, "--new-layers head"),
    ],
)
def test_invalid_options_are_refused(values, sentence):
    with pytest.raises(ConfigError, match=sentence):
        Config.of(values)


@pytest.mark.parametrize("option", [{"new_layers": "head"}, {"head": "yolov2"}, {"network": "darknet19", "freeze": "none"}])
def test_activation_needs_new_hidden_layers(option):
    assert Config.of({"activation": "elu", **option}).activation == "elu"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_toml_file_may_begin_with_a_byte_order_mark(tmp_path, encoding):
    (tmp_path / "a.toml").write_text("epochs = 7\r\n", encoding=encoding)
    assert Config.read(tmp_path / "a.toml").epochs == 7


def test_the_error_of_an_invalid_toml_file_names_it(tmp_path):
    path = tmp_path / "x.toml"
    path.write_text("epochs = = 3", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"x\.toml: not readable as TOML"):
        Config.read(path)


@pytest.mark.parametrize(
    "text",
    [
        "a." * 40_000 + "a = 1",
        "epochs = 3\n[" + '"a" . ' * 40_000 + "a]",
        "x = {b = 1, " + "a." * 40_000 + "a = 1}",
        "x = [\n{" + "a." * 40_000 + "a = 1}]",
        "x = " + "[" * 50_000,
        "x = " + "{a = " * 50_000,
        "seed = " + "9" * 5_000,
        "seed = 0x" + "f" * 200_000,
        "#" + "a" * 2**18,
    ],
    ids=["key", "table", "inline", "lines", "lists", "tables", "number", "hexadecimal", "size"],
)
def test_a_toml_file_that_is_expensive_to_parse_is_refused_at_once(tmp_path, text):
    """A key with 20,000 dots took 4 s."""
    path = tmp_path / "x.toml"
    path.write_text(text, encoding="utf-8")
    used = thread_time()
    with pytest.raises(ConfigError, match=r"x\.toml: not readable as TOML"):
        Config.read(path)
    assert thread_time() - used < 0.5


def test_several_sizes_form_a_size_plan():
    assert Config(sizes="224:0.5,288").size_plan() == ((0.5, 224), (1.0, 288))
    assert Config(sizes="320").size_plan() == ((1.0, 320),)
