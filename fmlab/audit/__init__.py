"""The audit: what is wrong with a dataset before a model learns from it."""
