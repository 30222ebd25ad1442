"""The pages: layout only. `app.kinds` lists the pages of the kinds of data, `app.main` the others."""
