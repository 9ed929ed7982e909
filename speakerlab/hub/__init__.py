"""Models as files: bundles of our own, formats of other toolkits, ids of model hubs, ONNX."""
