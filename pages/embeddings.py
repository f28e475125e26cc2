"""Embeddings: how a backbone arranges the images, before any label was shown to it."""

from fmlab.ui import session
from fmlab.ui.heading import heading
from fmlab.ui.map_view import choose_map, find_projection, offer_projection, show_map
from fmlab.ui.messages import shown_errors
from fmlab.ui.progress import live_groups


def page() -> None:
    """The whole page; a broken store ends it with one message."""
    chosen = choose_map(session.home(), session.store())
    if chosen is None:
        return
    live_groups("embeddings", kinds=("project",))
    run = find_projection(chosen)
    if run is not None and run.state == "done":
        show_map(chosen, run)
    else:
        offer_projection(chosen, run)


heading("Embeddings", "How a backbone arranges the images, before it has seen a single label.")
with shown_errors():
    page()
