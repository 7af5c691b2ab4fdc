"""The end of a run: count false alarms, suggest confidence thresholds, and add the new memory to best.safetensors."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detector.boxes.detections import Detections
from detector.detector import Detector
from detector.engines import load_engine
from detector.network.spec import Model
from training.evaluation.evaluate import evaluate_detector
from training.evaluation.false_alarms import best_confidence, count_false_alarms, detect_in_background, few_boxes_warning
from training.evaluation.new_classes import count_found
from training.features.memory import Memory, select_balanced
from training.features.memory_format import memory_to_entries
from training.features.remember import choose, make_memory, remember
from training.features.replay import replay_samples
from training.modeling.transfer import backbone_layers
from training.run.divergence import describe_explosion
from training.run.setup import RunSetup
from training.run.validation import detect_in_held_out, empty_truths
from weights.formats.provenance import CONFIDENCE_KEY, confidence_text, recorded_confidence
from weights.formats.safetensors import load_model, save_model

if TYPE_CHECKING:
    from training.run.run import Run

NEW_IMAGES_DIVISOR = 5  # At least a fifth of the new memory consists of new images, if there are enough.


def conclude(run: "Run") -> None:
    """Complete best.safetensors and write conclusion.json. Does nothing if the run was never validated."""
    path = run.folder.path / "best.safetensors"
    if not path.is_file():
        return
    model, setup = load_model(path), run.setup
    false_alarms, negatives = _false_alarms(run, model)
    evaluation = evaluate_detector(Detector(model.spec, load_engine(model)), setup.val)
    thresholds = recorded_confidence(setup.start.model.provenance, model.spec.labels)
    for label in evaluation.classes:
        class_id = model.spec.labels.index(label)
        images = negatives if label in setup.kept.new_labels else []
        truths = [*evaluation.truths, *empty_truths(len(images))]
        thresholds.pop(label, None)  # that of the initial model
        if (confidence := best_confidence([*evaluation.detections, *images], truths, class_id)) is not None:
            thresholds[label] = confidence
    memory = new_memory(setup, model) if setup.config.memory else None
    provenance = dict(model.provenance) | {CONFIDENCE_KEY: confidence_text(thresholds)}
    save_model(replace(model, provenance=provenance), path, memory=memory_to_entries(memory) if memory else None)
    boxes = {label: result.boxes for label, result in evaluation.classes.items()}
    new_classes = {label: result for label, result in evaluation.classes.items() if label in setup.kept.new_labels}
    run.folder.write_conclusion(
        {
            "ap50": evaluation.ap50,
            "self_check": setup.config.overfit and len(setup.val),
            "new_labels": sorted(setup.kept.new_labels),
            "new_ap50": {label: round(result.ap, 4) for label, result in new_classes.items()},
            "found": count_found(new_classes, thresholds),
            "false_alarms": false_alarms,
            "confidence": {label: round(value, 4) for label, value in thresholds.items()},
            "warning": None if setup.config.overfit else few_boxes_warning(boxes),
            "divergence": describe_explosion([each["loss"] for each in run.folder.metrics.read()], setup.config),
            "memory": {"images": len(memory.images), "boxes": dict(sorted(memory.boxes_by_label.items()))} if memory else None,
        }
    )


def _false_alarms(run: "Run", model: Model) -> tuple[dict[str, Any], list[Detections]]:
    """Return the false alarms by source, and the detections in images that show none of the new objects."""
    setup, shares, negatives = run.setup, dict[str, Any](), list[Detections]()
    class_ids = [model.spec.labels.index(label) for label in setup.kept.new_labels]
    if setup.remembered and setup.remembered.held_out and class_ids:
        found = detect_in_held_out(run.trainer, model, setup.remembered)
        shares["memory"] = count_false_alarms(found, class_ids).to_json()
        negatives += found
    if setup.task.background:
        found = detect_in_background(Detector(model.spec, load_engine(model)), Path(setup.task.background))
        shares["background"] = count_false_alarms(found, class_ids or range(len(model.spec.labels))).to_json()
        negatives += found
    return shares, negatives


def new_memory(setup: RunSetup, model: Model) -> Memory | None:
    """Return the memory of the fine-tuned model: images of the initial model's memory, if it is still valid, and of the training set.

    Args:
        setup: Setup of the run.
        model: The fine-tuned model.

    Returns:
        At most `Config.memory` images; None if the network has no layers before its head.
    """
    config, samples = setup.config, setup.batches.samples
    labels = sorted({label for sample in samples for label in sample.labels})
    size = config.size_plan()[0][1]
    old = setup.kept.memory if setup.kept.memory_stays_valid else None
    if old is None:
        if not backbone_layers(model.spec.network):
            return None
        replayed = replay_samples(Path(setup.task.replay)) if setup.task.replay else []
        return make_memory(model, [*samples, *replayed], config.memory, labels=labels, size=size)
    new_count = min(len(samples), max(config.memory // NEW_IMAGES_DIVISOR, config.memory - len(old.images)))
    old_images = [replace(image, labelled=image.labelled | setup.kept.new_labels) for image in old.images]
    kept = select_balanced([image.labels for image in old_images], config.memory - new_count, config.seed)
    new = remember(old, model, choose(samples, new_count, config.seed), labels, size)
    return old.with_images([*(old_images[index] for index in kept), *new])
