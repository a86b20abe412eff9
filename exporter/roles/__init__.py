"""Which sources hang on which loop; nothing else."""
