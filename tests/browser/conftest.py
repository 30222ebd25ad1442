"""A real browser against a real Streamlit server: what AppTest can't see (flicker, zoom, camera, downloads)."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from waiting import until

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
NO_CHROMIUM = "no Chromium: none named by $MVM_CHROMIUM, none on the PATH"
CHROMIUM_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-unsafe-swiftshader",
]
HANG = 600_000  # milliseconds of one action on an element that is there; patient.py waits for elements
STOP_SECONDS = 5
OUTPUT_TAIL = 4000

# What Chromium and Streamlit say in a healthy app without network access.
HARMLESS = (
    "favicon",
    "Unrecognized feature:",
    "ERR_INTERNET_DISCONNECTED",
    "ERR_NAME_NOT_RESOLVED",
    "GPU stall due to ReadPixels",
    "/_stcore/host-config",  # where Streamlit looks for itself first, on a page that is not the first
    "/_stcore/health",
)


@dataclass
class Server:
    """A running ``streamlit run``, alone in its process group."""

    url: str
    process: subprocess.Popen
    output: Path

    def stop(self) -> None:
        """Ask it to end, as Ctrl-C would; kill what is left of its group."""
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_SECONDS)
        self.kill()

    def kill(self) -> None:
        """End the whole group at once, as a crash or a power cut would."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def tail(self) -> str:
        """The end of what it printed."""
        return self.output.read_text(errors="replace")[-OUTPUT_TAIL:]


SERVERS = pytest.StashKey[list[Server]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[SERVERS] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.browser)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.failed and item.path.is_relative_to(HERE):
        for server in item.config.stash[SERVERS]:
            report.sections.append((f"streamlit at {server.url}", server.tail()))
        page = getattr(item, "funcargs", {}).get("page")
        if page is not None and not page.is_closed():
            picture = Path(tempfile.gettempdir()) / f"{item.name}.png"
            page.screenshot(path=picture)
            report.sections.append(("screenshot", str(picture)))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = [report for report in terminalreporter.stats.get("skipped", []) if NO_CHROMIUM in str(report.longrepr)]
    if skipped:
        terminalreporter.write_line(
            f"NO CHROMIUM FOUND: {len(skipped)} browser tests did not run. Install chromium, or name it in "
            "$MVM_CHROMIUM: what these tests check is unchecked.",
            red=True,
            bold=True,
        )


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium. Without one the test is skipped, but fails under $CI."""
    names = (os.environ.get("MVM_CHROMIUM"), "chromium", "chromium-browser", "google-chrome")
    path = next((found for found in map(shutil.which, filter(None, names)) if found), None)
    if path is None:
        refuse = pytest.fail if os.environ.get("CI", "").lower() not in ("", "0", "false") else pytest.skip
        refuse(NO_CHROMIUM)
    return path


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator:
    """The one browser of the test session."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def context(browser) -> Iterator:
    """All pages share a profile: its cache spares each of them 5 MB of scripts."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, accept_downloads=True)
    context.set_default_timeout(HANG)
    yield context
    context.close()


@pytest.fixture
def page(context) -> Iterator:
    """A page of 1440x900 that must end without errors in its console."""
    page = context.new_page()
    errors: list[str] = []

    def note(message) -> None:
        if message.type == "error":
            errors.append(f"{message.text} {message.location.get('url', '')}".strip())

    page.on("console", note)
    page.on("pageerror", lambda error: errors.append(f"uncaught: {error}"))
    yield page
    page.close()
    unexpected = [error for error in errors if not any(noise in error for noise in HARMLESS)]
    assert not unexpected, "the browser's console has errors:\n" + "\n".join(unexpected)


@pytest.fixture(scope="session")
def serve(
    chromium: str, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Server]]:
    """``serve(script, env)`` starts a server and waits until it is healthy; all are ended after the session.

    ``serve(program=COMMAND, cwd=FOLDER)`` starts a command that takes ``--port`` instead.
    """
    servers = pytestconfig.stash[SERVERS]

    def serve(
        script: Path | None = None,
        env: dict[str, str] | None = None,
        *,
        program: Sequence[str | Path] = (),
        cwd: Path = REPOSITORY,
    ) -> Server:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        output = tmp_path_factory.mktemp("streamlit") / "output.txt"
        command = [
            *(sys.executable, "-m", "streamlit", "run", str(script)),
            *("--server.port", str(port), "--server.address", "127.0.0.1"),
            *("--server.headless", "true", "--server.enableStaticServing", "true"),
            *("--server.fileWatcherType", "none", "--browser.gatherUsageStats", "false"),
        ]
        if program:
            command = [*map(str, program), "--port", str(port)]
        with output.open("w") as file:
            process = subprocess.Popen(
                command,
                cwd=cwd,
                env=os.environ | (env or {}),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        server = Server(f"http://127.0.0.1:{port}", process, output)
        servers.append(server)
        _wait_until_healthy(server)
        return server

    yield serve
    for server in servers:
        server.stop()


def _wait_until_healthy(server: Server) -> None:
    def is_healthy() -> bool:
        if server.process.poll() is not None:
            pytest.fail(f"streamlit ended with status {server.process.returncode}:\n{server.tail()}")
        try:
            urllib.request.urlopen(f"{server.url}/_stcore/health", timeout=1).close()
        except OSError:  # not listening yet, or not healthy
            return False
        return True

    until(is_healthy, f"{server.url} to be healthy", every=0.1)
