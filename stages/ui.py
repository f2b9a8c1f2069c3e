"""MLflow's UI on the table of experiments: `python -m stages.ui 5000`, which `make ui PORT=5000` calls.

Prints the address and, where there is a display, opens it. Of a server that MLFLOW_TRACKING_URI names, it is the server's own UI.
"""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from stages.lib import command
from stages.lib.errors import RunError
from stages.lib.settings import params
from stages.lib.store import address, tracking

HOST = "127.0.0.1"
STARTS_WITHIN_S = 60


def main(port: str) -> None:
    experiment = tracking.Store(params.section("track").experiment).experiment
    if address.address().startswith(("http://", "https://")):
        show(address.address(), experiment)
        return
    if not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise RunError(f"PORT is {port!r}; allowed: 1 to 65535")
    with serving(int(port)) as server:
        show(f"http://{HOST}:{port}", experiment)
        server.wait()


def show(server: str, experiment: str) -> None:
    """Print the address of the table of an experiment's runs, and open it where there is a display."""
    page = f"{server.rstrip('/')}/#/experiments/{experiment}/runs?workflowType=machine_learning"  # else MLflow shows what it has for agents
    print(f"MLflow: {page}", flush=True)
    if sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        webbrowser.open(page)


@contextmanager
def serving(port: int) -> Iterator[subprocess.Popen]:
    """MLflow's server of the tracking store, once it answers; it ends with the block.

    Raises:
        RunError: where the port is taken, or the server ends or does not answer.
    """
    with socket.socket() as probe:
        if probe.connect_ex((HOST, port)) == 0:
            raise RunError(f"port {port} of {HOST} is in use; choose another: make ui PORT={port + 1}")
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "ui", "--host", HOST, "--port", str(port), "--backend-store-uri", address.address()],
        env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        start_new_session=True,  # its processes are ended together
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # so that the server ends, too
    try:
        deadline = time.monotonic() + STARTS_WITHIN_S
        while not answers(port):
            if server.poll() is not None or time.monotonic() > deadline:
                raise RunError(f"MLflow's server does not start on port {port}; what it printed above says why")
            time.sleep(0.2)
        yield server
    except KeyboardInterrupt:
        print("MLflow: ended")
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def answers(port: int) -> bool:
    """Whether a server of MLflow is there."""
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=1):
            return True
    except OSError:
        return False


if __name__ == "__main__":
    command.run(main, __doc__, "port")
