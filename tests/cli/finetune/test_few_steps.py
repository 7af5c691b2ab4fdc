"""The default number of epochs on few images."""

import pytest

from cli.finetune.plan import with_enough_steps
from training.config.options import Config


def test_few_images_get_more_epochs_and_rarer_validations():
    config = with_enough_steps(Config(), 16, given=())
    assert (config.epochs, config.check_every) == (100, 10)  # 200 steps of 8 images


@pytest.mark.parametrize(
    ("images", "config", "given"), [(80, Config(), ()), (16, Config(epochs=3), ("epochs",)), (16, Config(overfit=8), ())]
)
def test_enough_images_a_given_number_of_epochs_and_a_self_check_change_nothing(images, config, given):
    assert with_enough_steps(config, images, given) == config


def test_a_given_interval_of_validations_stays():
    config = with_enough_steps(Config(check_every=1), 16, given=("check_every",))
    assert (config.epochs, config.check_every) == (100, 1)
