"""Images on disk and what is known of each: manifest, splits, subsets, pixels, preprocessing."""
