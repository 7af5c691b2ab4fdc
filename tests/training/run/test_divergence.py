"""Runs with a loss that explodes without becoming NaN."""

import json

import pytest

from training.config.options import Config
from training.evaluation.false_alarms import describe_conclusion
from training.evaluation.new_classes import advise_longer_run
from training.run.divergence import describe_explosion, lower_learning_rate

STEADY = [18.0, 30.0, 12.0, 9.0, 8.0, 6.0, 5.0, 4.0, 4.0, 3.0]


@pytest.mark.parametrize(
    ("losses", "exploded"),
    [
        ([], False),
        ([18.0], False),
        (STEADY, False),
        ([*STEADY[:-1], 90.0], False),  # a hard last batch
        ([2.0, *STEADY], False),  # an easy first batch
        ([18.0, 7e10, *STEADY], False),  # it has recovered
        ([18.0, 7e10, 52.0, 226.0, 230.0], True),
        ([18.0, 7e10, 52.0, 226.0, 4e8], True),
        ([18.0, 100.0, 400.0, 900.0], True),
    ],
)
def test_an_exploded_loss_is_recognised(losses, exploded):
    assert bool(describe_explosion(losses, Config())) is exploded


@pytest.mark.parametrize(("learning_rate", "lower"), [(10.0, "0.0003"), (5.0, "0.0003"), (0.001, "0.0001"), (0.0003, "3e-05")])
def test_the_suggested_learning_rate_is_a_tenth_but_at_most_the_default(learning_rate, lower):
    assert lower_learning_rate(Config(learning_rate=learning_rate)) == lower


def test_a_run_with_an_exploded_loss_ends_with_advice_to_lower_the_learning_rate(new_run):
    run = new_run(learning_rate=5.0, warmup_steps=0, epochs=4, clip="global-norm", freeze="none", new_layers="output")
    run.train()
    losses = [row["loss"] for row in run.folder.metrics.read()]
    assert losses[-1] > 20 * losses[0]
    conclusion = json.loads((run.folder.path / "conclusion.json").read_text(encoding="utf-8"))
    assert conclusion["divergence"]["learning_rate"] == "0.0003"
    assert "Start a new run with --learning-rate 0.0003." in describe_conclusion(conclusion)[-1]
    assert advise_longer_run(conclusion | {"new_ap50": {"blue": 0.0}}, steps=12, steps_per_epoch=3) is None
    sentences = [sentence for row in run.folder.metrics.read() for sentence in row.get("sentences", ())]
    assert any("Stop this run, and start a new one with --learning-rate 0.0003." in sentence for sentence in sentences)
