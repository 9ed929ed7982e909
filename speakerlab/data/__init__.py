"""The Kaldi data dir: tables, validation, subsets."""
