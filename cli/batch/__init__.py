"""`boxwright detect --ray`: an archive of any number of photos, answered into a folder of Parquet files; interrupted, it goes on."""
