"""FMLab in the browser: the table of contents. Start it with `fmlab app`, or `streamlit run app.py`."""

from pathlib import Path

import streamlit as st

from fmlab.ui.heading import CONTENTS

ASSETS = Path(__file__).parent / "assets"

st.set_page_config(page_title="FMLab", page_icon=str(ASSETS / "icon.svg"), layout="wide")
st.logo(str(ASSETS / "logo.svg"), icon_image=str(ASSETS / "icon.svg"), size="large")

st.session_state[CONTENTS] = True
st.navigation(
    {
        "": [st.Page("pages/overview.py", title="Overview", icon=":material/home:", default=True)],
        "Prepare": [
            st.Page("pages/datasets.py", title="Datasets", icon=":material/photo_library:"),
            st.Page("pages/backbones.py", title="Backbones", icon=":material/account_tree:"),
        ],
        "Run": [
            st.Page("pages/launch.py", title="Launch", icon=":material/rocket_launch:"),
            st.Page("pages/runs.py", title="Runs", icon=":material/list_alt:"),
            st.Page("pages/pretraining.py", title="Pretraining", icon=":material/model_training:"),
        ],
        "Understand": [
            st.Page("pages/results.py", title="Results", icon=":material/show_chart:"),
            st.Page("pages/embeddings.py", title="Embeddings", icon=":material/scatter_plot:"),
        ],
        "Review": [st.Page("pages/review.py", title="Review", icon=":material/fact_check:")],
    },
    expanded=True,
).run()
