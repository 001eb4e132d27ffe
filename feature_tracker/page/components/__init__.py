"""Streamlit components of this project: each has Python, HTML, CSS and JavaScript files of one name."""
