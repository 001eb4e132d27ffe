"""Parts of the Streamlit page, one file a tab; what a person sees is written here."""
