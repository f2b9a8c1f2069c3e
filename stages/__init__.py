"""The pipeline: one module per DVC stage; what they share is in `stages.lib`."""
