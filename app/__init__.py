"""The screen of the lab, and the only package that imports Streamlit.

main          entry point: the navigation
kinds         the page of each kind of data
views/        one module per page: its layout
sidebar       settings of the next run
header        choice, buttons and status of the shown run
live          panels of the shown run, redrawn while it is trained
columns       its columns, one per variant: the choice, and scores below their titles
layers/       what can be drawn over the Lab's point clouds
widgets       widgets made from settings models
charts/       figures and panels as plain data
components/   components with JavaScript of their own
session       state of a browser tab
link          values that come by the URL
text          words from outside, drawn as they are
services      trainings and other processes: start, ask, continue
caches        data read from disk: runs, histories, generators, uploads
"""
