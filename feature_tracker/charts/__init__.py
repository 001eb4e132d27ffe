"""Charts: pure functions from data to a Plotly figure; nothing here depends on Streamlit."""
