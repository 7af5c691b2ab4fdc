"""`boxwright detect --ray`: detect objects in a large archive, with results in a folder of Parquet files."""
