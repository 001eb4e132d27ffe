"""The page: financial text in, labelled features of a language model out.

streamlit run feature_activation_tracker.py --server.port 8502
"""

from __future__ import annotations

from views.page import show_page

show_page()
