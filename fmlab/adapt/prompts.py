"""Prompts: the phrases that stand for each class when images are sorted without labels.

In: a `ZeroShot` config and the classes of a dataset. Out: class -> its prompts, in the order of the classes.
No torch here: pages show and edit the table.
"""

from collections.abc import Sequence

from fmlab.adapt.configs import ZeroShot
from fmlab.errors import BadInput


def prompt_table(config: ZeroShot, classes: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The prompts of every class: its own, or the template with its name.

    Raises:
        BadInput: prompts for a class that is not among `classes`.
    """
    unknown = [label for label in config.prompts if label not in classes]
    if unknown:
        raise BadInput(
            f"There are prompts for {unknown[0]!r}, which is no class; the classes are {', '.join(classes)}."
        )
    # Not str.format: a class may be named "{x}", and a template may hold other braces.
    return {label: config.prompts.get(label) or (config.template.replace("{label}", label),) for label in classes}
