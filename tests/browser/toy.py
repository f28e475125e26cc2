"""The toy dataset of the browser tests: grey squares whose brightness is their class, large enough to be watched.

In: a home. Out: the dataset `toy` in it, 3 classes, 16 training and 4 test sequences each.
"""

import numpy as np

from fmlab.data.writer import CardFacts, DatasetWriter, ImageRow

CLASSES = ("dark", "middle", "<img src=x onerror=window.hacked=1>")
FRAMES = 4


def make_toy(home):
    writer = DatasetWriter(home, "toy")
    generator = np.random.default_rng(0)
    for split, sequences in (("train", 16), ("T1", 4)):
        for place, label in enumerate(CLASSES):
            for number in range(sequences):
                name = f"{split}-{place}-{number}"
                for frame in range(FRAMES):
                    row = ImageRow(f"{name}.gif", frame, label=label, sequence_id=name, patient_id=name, split=split)
                    level = 40 + 70 * place
                    writer.add(row, generator.integers(level, level + 30, (40, 48), dtype=np.uint8))
    return writer.finish(CardFacts("toy", title="Toy squares", synthetic=True))
