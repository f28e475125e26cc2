"""From images to feature vectors: extraction, cache, projection to two dimensions."""
