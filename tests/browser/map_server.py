"""Starts the page of map_page.py: a Streamlit server of its own, on a free port."""

from pathlib import Path

from tests.browser.conftest import free_port, start_page


def start_map(log):
    """The process and its address, once it answers."""
    port = free_port()
    return start_page(Path(__file__).with_name("map_page.py"), port, log), f"http://127.0.0.1:{port}"
