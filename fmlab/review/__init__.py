"""Misclassified images and what people say of them."""
