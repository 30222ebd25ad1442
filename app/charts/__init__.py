"""Charts as plain data, by pure functions: panels for `cloud_plot`, Plotly figures for `live_plot`.

One figure is one row of a page, with a subplot per variant, so that a row shares its scale and a page needs few charts.
A figure names only colours with a meaning; the component adds the theme's colours and fonts.
"""
