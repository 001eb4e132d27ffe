"""The page: financial text in, labelled features of a language model out.

streamlit run feature_activation_tracker.py --server.port 8502
"""

from __future__ import annotations

from feature_tracker.page.app import show_page

show_page()
