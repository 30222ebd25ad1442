"""Use a page as a person does who waits as long as the machine makes progress; see waiting.py."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import waiting

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

__all__ = ["click", "seen", "until", "visit"]

ATTEMPT = 2_000  # milliseconds; a wait is made of as many attempts as it takes

until = partial(waiting.until, every=0.05)


def visit(page: Page, url: str) -> None:
    """Open a page; its elements arrive later."""
    until(lambda: _succeeds(page.goto, url, wait_until="commit", timeout=15 * ATTEMPT), url)


def seen(locator: Locator, state: str = "visible") -> Locator:
    """The element, once it is visible, attached, hidden or detached."""
    until(lambda: _succeeds(locator.wait_for, state=state, timeout=ATTEMPT), f"{locator} to be {state}")
    return locator


def click(locator: Locator) -> None:
    """Click once it can be clicked: visible, enabled, at rest, and not covered."""
    until(lambda: _succeeds(locator.click, trial=True, timeout=ATTEMPT), f"{locator} to take a click")
    locator.click()


def _succeeds(call: Callable[..., object], *arguments: object, **options: object) -> bool:
    from playwright.sync_api import TimeoutError  # absent where there is no browser

    try:
        call(*arguments, **options)
    except TimeoutError:
        return False
    return True
