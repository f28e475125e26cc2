"""The built-in rows of the catalogue, as data, in the order in which lists show them.

In: the modules `rows_*`. Out: `BUILT_IN`, a tuple of cards.
"""

from fmlab.backbones import rows_fetal, rows_limited_data, rows_shipped, rows_small, rows_today
from fmlab.backbones.cards import BackboneCard

BUILT_IN: tuple[BackboneCard, ...] = (
    *rows_limited_data.ROWS,
    *rows_fetal.ROWS,
    *rows_today.ROWS,
    *rows_small.ROWS,
    *rows_shipped.ROWS,
)
