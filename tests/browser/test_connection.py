"""The app is closed while its page is open: the page says that trainings go on, and how to come back."""

from __future__ import annotations

from pathlib import Path

from pages import MAIN
from patient import seen, visit
from trainers import small_config

from mvm.runs.run import Run


def test_a_closed_app_is_told_with_the_way_back(context, serve, cloud: Path, checkpoints: Path) -> None:
    run = Run.create(small_config(cloud), name="ring")
    server = serve(MAIN, {"MVM_CHECKPOINTS": str(checkpoints)})
    page = context.new_page()  # not the fixture's, whose console must have no error
    answered = []
    page.on("response", lambda response: answered.append(response.url) if "_stcore/health" in response.url else None)
    visit(page, f"{server.url}/?run={run.name}")
    seen(page.get_by_text("Settings for the next run"))
    page.wait_for_function("() => window.mvmConnection?.answered")
    note = page.get_by_role("alert").filter(has_text="No connection to the app")
    assert note.count() == 0
    server.stop()
    text = seen(note).inner_text()
    assert "Training goes on without it" in text
    assert "mvm app" in text
    assert "reload this page" in text
    page.close()
