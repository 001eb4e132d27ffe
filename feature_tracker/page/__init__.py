"""The Streamlit page. Everything that a person reads there is written here; each tab has its file in `views`."""
