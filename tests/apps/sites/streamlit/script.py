"""The page: each change of a widget runs it anew."""

import streamlit as st

st.title("Visited")
if "runs" not in st.session_state:
    st.session_state.runs = 0
st.session_state.runs += 1
name = st.text_input("Name")
st.button("Again")
st.write(f"run {st.session_state.runs}, hello {name or 'nobody'}")
