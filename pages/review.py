"""Review: look at images and clips, say who is right, the model or the label, and make that count."""

from fmlab.ui import session
from fmlab.ui.heading import heading
from fmlab.ui.messages import shown_errors
from fmlab.ui.review_view import show_review

heading("Review")
with shown_errors():
    show_review(session.home(), session.store())
