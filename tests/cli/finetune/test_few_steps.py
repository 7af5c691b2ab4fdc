"""The warning before a run of few steps."""

import pytest

from cli.finetune.plan import warn_about_few_steps
from training.config.options import Config


def test_a_run_on_few_images_suggests_more_epochs(capsys):
    warn_about_few_steps(16, Config())
    warning = capsys.readouterr().err
    assert "16 training images give only 40 steps in 20 epochs." in warning
    assert "about 200: --epochs 100." in warning


@pytest.mark.parametrize(("images", "config"), [(80, Config()), (16, Config(epochs=100)), (16, Config(overfit=8))])
def test_a_run_of_200_steps_or_a_self_check_has_no_warning(capsys, images, config):
    warn_about_few_steps(images, config)
    assert capsys.readouterr().err == ""
