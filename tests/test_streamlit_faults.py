"""What Streamlit would drop of a page of fragments on timers reaches the browser: by its own queue and session."""

from __future__ import annotations

from types import SimpleNamespace

from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.runtime.app_session import AppSession, AppSessionState
from streamlit.runtime.forward_msg_cache import populate_hash_if_needed
from streamlit.runtime.forward_msg_queue import ForwardMsgQueue
from streamlit.runtime.scriptrunner_utils.script_requests import ScriptRequestType

from app.streamlit_faults import AGAIN, keep_messages

keep_messages()


def drawn(path: tuple[int, ...], fragment: str) -> ForwardMsg:
    message = ForwardMsg()
    message.metadata.delta_path.extend(path)
    message.delta.fragment_id = fragment
    message.delta.add_block.allow_empty = True
    return message


def test_a_block_inside_of_a_block_is_sent_after_it() -> None:
    """Every block's parent is there when it arrives: the fragment "outer" contains "inner", and both are drawn anew."""
    session = SimpleNamespace(_browser_queue=ForwardMsgQueue())
    page = [drawn((0,), ""), drawn((0, 0), "outer"), drawn((0, 0, 0), "inner")]
    for message in page:
        session._browser_queue.enqueue(message)
    AppSession._clear_queue(session, ["outer"])
    for message in page[1:]:
        session._browser_queue.enqueue(message)
    there: set[tuple[int, ...]] = {()}
    for message in session._browser_queue.flush():
        path = tuple(message.metadata.delta_path)
        assert path[:-1] in there
        there.add(path)
    session._browser_queue.enqueue(page[0])
    AppSession._clear_queue(session)
    assert not session._browser_queue.flush(), "a rerun of the page sends all of it again"


def test_a_rerun_waits_for_the_last_messages_of_a_run_that_has_ended() -> None:
    later, served = [], []
    loop = SimpleNamespace(call_later=lambda *call: later.append(call), call_soon_threadsafe=lambda f, *a: f(*a))
    requests = SimpleNamespace(_state=ScriptRequestType.STOP)
    runner = SimpleNamespace(_requests=requests)
    session = SimpleNamespace(_scriptrunner=runner, _event_loop=loop, _state=AppSessionState.APP_NOT_RUNNING)
    session._create_scriptrunner = served.append
    AppSession.request_rerun(session, None)
    ((seconds, again, *arguments),) = later
    assert (seconds, served) == (AGAIN, [])
    session._scriptrunner = None  # its last message has been handled
    again(*arguments)
    assert len(served) == 1
    assert len(later) == 1


def test_a_message_is_sent_whole_even_if_the_browser_had_it() -> None:
    """By the time it arrives, the browser may have forgotten what it named when it asked."""
    message = ForwardMsg()
    message.delta.new_element.markdown.body = "x" * 100_000
    populate_hash_if_needed(message)
    assert not message.metadata.cacheable
