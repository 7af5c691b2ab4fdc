"""The lines that a training run prints at its end."""

from pathlib import Path

import pytest

from cli.finetune.display import describe_best
from training.run.run import RunOutcome


@pytest.mark.parametrize(("best", "watch", "text"), [(0.9, "ap", "Best AP50 0.900"), (-1.5, "loss", "Best validation loss 1.500")])
def test_the_best_validation_loss_is_printed_as_a_positive_number(best, watch, text):
    outcome = RunOutcome(Path("runs/a"), "All epochs are done.", best, 40)
    assert describe_best(outcome, watch) == f"{text} at step 40: runs/a/best.safetensors"
