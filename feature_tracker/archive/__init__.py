"""An archive: the features of many documents on disk, written once by a run, and then asked without a model."""
