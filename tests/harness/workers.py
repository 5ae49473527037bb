#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""workers.py - a worker that dies, hangs or talks nonsense is named, and the target runs on.

Alone:   sudo /usr/bin/python3 tests/harness/workers.py [--stasis PATH]

Each test starts a small target and one worker by hand (the program, or a fake of ours that
speaks the bus's wire format), lets `stasis dump --worker` use it, and expects: exit status 1, a
sentence that names the worker, no inventory.img, the target alive, untraced and not stopped.
The last line is "N passed, N failed, N skipped".
"""
import argparse
import concurrent.futures
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

import tool


class FakeWorker:
    """A process that listens as `stasis-NAME --listen` does and answers with the given bytes."""

    def __init__(self, path, answer):
        self.path = path
        self.answer = answer
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self.serve()
            except OSError:		# the coordinator has hung up
                pass
            os._exit(0)
        if not tool.wait_for(lambda: tool.listens(path + ".fds"), 20):
            raise tool.Failure(f"nobody listens at {path}.fds")

    def listen(self, path, kind):
        sock = socket.socket(socket.AF_UNIX, kind)
        sock.bind(path)
        sock.listen(1)
        return sock

    def serve(self):
        bus = self.listen(self.path, socket.SOCK_STREAM)
        fds = self.listen(self.path + ".fds", socket.SOCK_SEQPACKET)
        plane, _ = fds.accept()
        peer, _ = bus.accept()
        peer.sendall(b"\0SP\0" + struct.pack(">HH", 16, 0))	# NN_PAIR
        self.read(peer, 8)
        while self.read(peer, 1):
            self.read(peer, struct.unpack(">Q", self.read(peer, 8))[0])
            for data in self.answer:
                peer.sendall(b"\1" + struct.pack(">Q", len(data)) + data)
        plane.close()

    @staticmethod
    def read(peer, count):
        data = b""
        while len(data) < count:
            part = peer.recv(count - len(data))
            if not part:
                return b""
            data += part
        return data


def state_of(pid):
    with open(f"/proc/{pid}/status") as text:
        fields = dict(line.split(":", 1) for line in text.read().splitlines() if ":" in line)
    return fields["State"].split()[0], int(fields["TracerPid"])


class Bench:
    """A directory, a target, and the way to dump it through a given worker."""

    def __init__(self, stasis):
        self.stasis = stasis
        self.dir = tempfile.mkdtemp(prefix="stasis-workers-")
        self.images = os.path.join(self.dir, "images")
        os.mkdir(self.images)
        self.pid = tool.start(["/bin/sh", "-c", "while :; do sleep 0.05; done"], self.dir)
        time.sleep(0.2)

    def path(self, name):
        return os.path.join(self.dir, name)

    def program(self, name):
        """Start the worker's program at a socket of ours."""
        child = subprocess.Popen([self.stasis + "-" + name, "--listen", "ipc://" + self.path(name)],
                                 stdin=subprocess.DEVNULL)
        if not tool.wait_for(lambda: tool.listens(self.path(name) + ".fds"), 20):
            raise tool.Failure(f"stasis-{name} does not listen")
        return child

    def dump(self, name):
        return subprocess.Popen([self.stasis, "dump", "-t", str(self.pid), "-D", self.images, "-o",
                                 "dump.log", "-v4", "--worker", f"{name}=ipc://{self.path(name)}"],
                                stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def wait_for_request(self, name):
        """Until a dump has found its worker and has something to tell it."""
        def asked():
            try:
                with open(os.path.join(self.images, "dump.log")) as log:
                    return f"-> {name}: " in log.read()
            except OSError:
                return False

        if not tool.wait_for(asked, 20):
            raise tool.Failure(f"the dump does not ask {name}")

    def expect_failure(self, dump, *words):
        said = dump.communicate(timeout=60)[1]
        if dump.returncode != 1:
            raise tool.Failure(f"exit status {dump.returncode} instead of 1: {said}")
        for word in words:
            if word not in said:
                raise tool.Failure(f"the sentence lacks {word!r}: {said}")
        if os.path.exists(os.path.join(self.images, "inventory.img")):
            raise tool.Failure("a failed dump left an inventory.img")
        time.sleep(0.2)
        if not tool.wait_for(self.runs_on, 10):
            raise tool.Failure("the target is in state %s, traced by %d" % state_of(self.pid))

    def runs_on(self):
        state, tracer = state_of(self.pid)
        return state in "RS" and tracer == 0

    def close(self):
        """Reaps the target alone: tool.reap() would take the exit statuses other threads wait for."""
        for pid in tool.tree(self.pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        os.waitpid(self.pid, 0)
        shutil.rmtree(self.dir)


def stopped(bench, name):
    """A worker that is stopped is given up after the deadline."""
    worker = bench.program(name)
    os.kill(worker.pid, signal.SIGSTOP)
    bench.expect_failure(bench.dump(name), name, "takes no message")
    worker.kill()
    worker.wait()


def silent(bench, name):
    """One that takes messages and never answers, too."""
    FakeWorker(bench.path(name), [])
    bench.expect_failure(bench.dump(name), name, "no progress")


def killed(bench, name):
    """A worker that dies is noticed at once."""
    worker = bench.program(name)
    os.kill(worker.pid, signal.SIGSTOP)
    dump = bench.dump(name)
    bench.wait_for_request(name)
    began = time.monotonic()
    worker.kill()
    worker.wait()
    bench.expect_failure(dump, name, "gone")
    if time.monotonic() - began > 5:
        raise tool.Failure("the death was noticed late")


def absent(bench, name):
    """A worker that was never started is named with what to do."""
    bench.expect_failure(bench.dump(name), name, "--listen")


def nonsense(bench, name):
    """Bytes that are no message."""
    FakeWorker(bench.path(name), [b"\xff\xfe nonsense"])
    bench.expect_failure(bench.dump(name), name, "no Reply")


def wrong_id(bench, name):
    """An answer to something that was not asked: Reply { id: 77, status: OK }."""
    FakeWorker(bench.path(name), [b"\x08\x4d\x10\x01"])
    bench.expect_failure(bench.dump(name), name, "77")


def separate(bench, name):
    """And the good case: a worker started by hand does its part, and ends with the dump."""
    worker = bench.program(name)
    dump = bench.dump(name)
    said = dump.communicate(timeout=60)[1]
    if dump.returncode:
        raise tool.Failure(f"the dump failed: {said}")
    if worker.wait(timeout=10):
        raise tool.Failure(f"the worker ended with status {worker.returncode}")


def run(stasis, test, name):
    """One test: None, or what was wrong."""
    bench, wrong = Bench(stasis), None
    try:
        test(bench, name)
    except (tool.Failure, OSError, subprocess.TimeoutExpired) as fault:
        wrong = fault
    bench.close()
    print(f"FAIL {test.__name__} {name}: {wrong}" if wrong else f"PASS {test.__name__} {name}")
    return wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--stasis", default=os.path.join(tool.ROOT, "build", "stasis"))
    stasis = os.path.abspath(parser.parse_args().stasis)
    tests = [(test, name) for test in (stopped, silent, separate, absent, killed, nonsense, wrong_id)
             for name in ("mem", "files")]
    # The slow ones only wait: all at once.
    with concurrent.futures.ThreadPoolExecutor(len(tests)) as pool:
        faults = list(pool.map(lambda pair: run(stasis, *pair), tests))
    failed = sum(fault is not None for fault in faults)
    passed = len(faults) - failed
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    tool.become_subreaper()
    sys.exit(main())
