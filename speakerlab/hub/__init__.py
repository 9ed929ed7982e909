"""Model bundles: what a trained model travels as."""
