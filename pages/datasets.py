"""Datasets: bring images in, and see what they are before any model does."""

import streamlit as st

from fmlab.data.manifest import dataset_names, open_dataset
from fmlab.ui import links, session
from fmlab.ui.audit_view import show_audit
from fmlab.ui.dataset_view import show_balance, show_card, show_frames
from fmlab.ui.heading import heading
from fmlab.ui.imports import import_form, import_outcomes
from fmlab.ui.messages import empty_state, shown_errors
from fmlab.ui.progress import live_groups

heading("Datasets", "Bring images in, and see what they are before any model does.")

home = session.home()
names = dataset_names(home)

form = st.expander("Import images", icon=":material/add_photo_alternate:", expanded=not names)
with shown_errors():
    import_outcomes()
with form, shown_errors():
    import_form(home)
with shown_errors():
    live_groups("datasets", kinds=("import", "phantom", "audit"))

if not names:
    empty_state(
        "No dataset yet",
        "Give a folder, a table, DICOM files or clips above. Or start with the built-in synthetic echocardiograms on the "
        "Overview.",
        [lambda: links.link(links.OVERVIEW, "Go to the Overview", ":material/home:")],
    )
    st.stop()

name = links.choose("Dataset", names, "dataset", width=420)
with shown_errors():
    dataset = open_dataset(home, name)
    show_card(dataset.card)
    show_audit(home, dataset)
    if dataset.card.classes:
        links.link(links.LAUNCH, "Launch a study on it", ":material/rocket_launch:", {"dataset": name})
    st.subheader("Balance", anchor=False)
    show_balance(dataset.card)
    st.subheader("What the images look like", anchor=False)
    show_frames(home, dataset)
