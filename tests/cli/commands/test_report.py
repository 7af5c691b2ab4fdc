"""`boxwright report`: its check of the folder. test_finetune.py writes the report of a run."""


def test_a_folder_without_a_run_is_reported_before_tensorflow_starts(boxwright, tmp_path):
    result = boxwright("report", tmp_path)
    assert result.code == 2
    assert "not a run folder" in result.err
    assert "TensorFlow" not in result.err
