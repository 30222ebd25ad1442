"""Four faults of Streamlit 1.67 that a page of fragments on timers meets, mended; each ended such a page for good.

container   a fragment that ends just as a rerun of the page is asked for leaves its own container as the current
            one of the thread, and the page is drawn inside of it
queue       a fragment that begins drops what it drew before and the browser has not got yet; what a fragment inside
            of it drew stays, and goes to a block that is not there
ended run   a rerun asked for between the end of a run and the handling of its last messages drops these: the end of
            the page, its timers among it
cache       a rerun names the messages that the browser keeps; while it waits for its turn, the end of another run makes
            the browser forget some of them, and what is then sent in short is unknown there
"""

from __future__ import annotations

import functools
from typing import Any

from streamlit import config
from streamlit.delta_generator_singletons import context_dg_stack, get_default_dg_stack_value
from streamlit.runtime.app_session import AppSession, AppSessionState
from streamlit.runtime.scriptrunner_utils.script_requests import ScriptRequestType

__all__ = ["draw_from_the_top", "keep_messages"]

AGAIN = 0.005  # seconds until a rerun is asked for again
NEVER = float(2**31)  # bytes of a message; no larger one can be sent


def draw_from_the_top() -> None:
    """Begin a page outside of any container, whatever ran before in this thread."""
    context_dg_stack.set(get_default_dg_stack_value())


@functools.cache
def keep_messages() -> None:
    """Let no message to a browser be dropped that a later one builds on; once for the process."""
    clear, request = AppSession._clear_queue, AppSession.request_rerun

    def clear_queue(session: Any, fragment_ids_this_run: list[str] | None = None) -> None:
        if fragment_ids_this_run:
            session._browser_queue._delta_index_map = {}  # later messages follow the earlier ones; they replace none
        else:
            clear(session, fragment_ids_this_run)

    def request_rerun(session: Any, client_state: Any) -> None:
        runner, loop = session._scriptrunner, session._event_loop
        is_ending = runner is not None and runner._requests._state == ScriptRequestType.STOP
        if is_ending and session._state != AppSessionState.SHUTDOWN_REQUESTED:
            loop.call_soon_threadsafe(loop.call_later, AGAIN, request_rerun, session, client_state)
        else:
            request(session, client_state)

    AppSession._clear_queue = clear_queue  # type: ignore[method-assign]
    AppSession.request_rerun = request_rerun  # type: ignore[method-assign]
    config.set_option("global.minCachedMessageSize", NEVER)  # every message is sent whole
