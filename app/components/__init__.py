"""Streamlit components with JavaScript and CSS beside them, one per folder."""
