"""`boxwright finetune`: its options, the checks before it starts, its display, and publishing the result."""
