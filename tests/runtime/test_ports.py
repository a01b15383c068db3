"""Servers that tests start side by side never get each other's ports."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from bench import ports
from bench.ports import free_port

PROJECT = Path(__file__).resolve().parents[2]
TWO_HUNDRED = "from bench.ports import free_port; print(*(free_port() for _ in range(200)))"


def given_to(worker, workers):
    ours = {"PYTHONPATH": str(PROJECT), "PYTEST_XDIST_WORKER": f"gw{worker}", "PYTEST_XDIST_WORKER_COUNT": str(workers)}
    done = subprocess.run([sys.executable, "-c", TWO_HUNDRED], env=os.environ | ours, capture_output=True, text=True, check=True)
    return {int(port) for port in done.stdout.split()}


def test_no_process_of_a_run_is_given_a_port_twice_or_one_of_another_process():
    found = [given_to(worker, 3) for worker in range(3)]
    assert [len(of_worker) for of_worker in found] == [200] * 3
    assert len(set.union(*found)) == 600


def test_a_port_that_somebody_listens_on_is_passed_over(monkeypatch):
    first, second = free_port(), free_port()
    with socket.create_server(("127.0.0.1", first)):
        monkeypatch.setattr(ports, "_NEXT", iter([first, second]))
        assert free_port() == second
        monkeypatch.setattr(ports, "_NEXT", iter([first] * len(ports._MINE)))
        with pytest.raises(RuntimeError, match="no port from 20000 to 29999 is free"):
            free_port()
