#!/usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""netlock.py - the network of a dumped connection is locked just as long as it must be.

Alone:   sudo /usr/bin/python3 tests/harness/netlock.py [options] [test...]
         options as cr.py's

A server has a connection to a client that lives here. The client writes while there is no
server: it must not be refused, and be answered after the restore. The last line is "N passed, N
failed, N skipped".
"""
import os
import socket
import subprocess
import sys
import time

import tool

SERVER = """
import socket, sys
listener = socket.create_server((sys.argv[1], int(sys.argv[2])),
                                family=socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
client = listener.accept()[0]
open("ready", "w").close()
while True:
    client.sendall(client.recv(100).upper())
"""
KEEP = ["--tcp-established"]


class Scene:
    """A server and its client."""

    def __init__(self, plan, directory, address="127.0.0.1"):
        self.plan = plan
        self.dir = directory
        self.number = 0
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.create_server((address, 0), family=family) as s:
            self.address = s.getsockname()[:2]
        self.pid = tool.start(["/usr/bin/python3", "-BES", "-c", SERVER, address,
                               str(self.address[1])], directory, plan.uid)
        if not tool.wait_for(self.connect, 20, 0.05):
            raise tool.Failure("the server does not start")
        if not tool.wait_for(lambda: os.path.exists(os.path.join(directory, "ready")), 20):
            raise tool.Failure("the server does not get ready")
        self.talk(b"hello")

    def connect(self):
        try:
            self.client = socket.create_connection(self.address, 20)
        except OSError:
            return False
        return True

    def say(self, words):
        self.client.sendall(words)

    def hear(self, words):
        answer = b""
        while len(answer) < len(words):
            data = self.client.recv(100)
            if not data:
                raise tool.Failure("the server hung up")
            answer += data
        if answer != words.upper():
            raise tool.Failure(f"the answer to {words} is {answer}")

    def talk(self, words):
        self.say(words)
        self.hear(words)

    def new_images(self):
        self.number += 1
        self.images = os.path.join(self.dir, f"images-{self.number}")
        os.mkdir(self.images)

    def dump(self, *options):
        self.new_images()
        self.plan.dumper.dump(self.pid, self.images, KEEP + list(options))

    def dump_with(self, **env):
        self.new_images()
        with tool.environment(**env):
            return self.plan.dumper.run("dump", self.images, "dump.log",
                                        KEEP + ["-t", str(self.pid)])

    def dump_running(self):
        self.new_images()
        status = self.plan.dumper.run("dump", self.images, "dump.log",
                                      KEEP + ["-t", str(self.pid), "--leave-running"])
        if status:
            raise tool.Failure(tool.first_error(self.images, "dump", status))

    def restore(self):
        self.plan.restorer.restore(self.pid, self.images, KEEP)

    def locked(self):
        """Whether the packet filter knows our port."""
        port = self.address[1]
        lists = [["nft", "list", "ruleset"], ["iptables-save"], ["ip6tables-save"]]
        text = "".join(subprocess.run(argv, capture_output=True, text=True).stdout for argv in lists)
        return f". {port}" in text or f"port {port}" in text

    def must_be_locked(self, wanted, when):
        if self.locked() != wanted:
            raise tool.Failure(f"the network is {'not ' if wanted else ''}locked {when}")

    def end(self):
        self.client.close()
        tool.kill_tree(self.pid)
        tool.reap()


def through(scene, *options):
    scene.dump(*options)
    scene.must_be_locked(True, "after the dump")
    scene.say(b"while you were away")
    time.sleep(0.1)
    scene.restore()
    scene.must_be_locked(False, "after the restore")
    scene.hear(b"while you were away")


def must_fail(deed, by, words, otherwise):
    """For that reason, where it is Stasis that fails."""
    try:
        deed()
    except tool.Failure as failure:
        if not by.is_criu and words not in str(failure):
            raise
    else:
        raise tool.Failure(otherwise)


def test_kept(plan, directory):
    scene = Scene(plan, directory)
    try:
        through(scene)
        through(scene)
    finally:
        scene.end()


def test_kept_v6(plan, directory):
    scene = Scene(plan, directory, "::1")
    try:
        through(scene)
    finally:
        scene.end()


def test_nftables(plan, directory):
    """Also what CRIU locked so."""
    scene = Scene(plan, directory)
    try:
        through(scene, "--network-lock", "nftables")
    finally:
        scene.end()


def test_running_on(plan, directory):
    """The dump lifts its own lock."""
    scene = Scene(plan, directory)
    try:
        scene.dump_running()
        scene.must_be_locked(False, "after a dump that leaves the task running")
        scene.talk(b"still here")
    finally:
        scene.end()


def test_failed_restore(plan, directory):
    """It can be tried again: the lock stays until then."""
    scene = Scene(plan, directory)
    try:
        scene.dump()
        with socket.create_server(scene.address):
            must_fail(scene.restore, plan.restorer, "another program holds",
                      "the restore succeeds while somebody holds the port")
        # What is left of a task of CRIU's is ours to reap.
        tool.wait_for(lambda: tool.reap() or not os.path.exists(f"/proc/{scene.pid}"), 5)
        scene.must_be_locked(True, "after a restore that failed")
        scene.say(b"second try")
        scene.restore()
        scene.must_be_locked(False, "after the restore")
        scene.hear(b"second try")
    finally:
        scene.end()


def test_refused_dump(plan, directory):
    """A dump that fails leaves nothing locked."""
    scene = Scene(plan, directory)
    try:
        waiting = socket.create_connection(scene.address)
        must_fail(scene.dump, plan.dumper, "are not accepted yet",
                  "a connection that is not accepted is lost without a word")
        scene.must_be_locked(False, "after a dump that failed")
        scene.talk(b"unharmed")
        scene.dump("--skip-in-flight")
        scene.restore()
        scene.talk(b"and back")
        waiting.close()
    finally:
        scene.end()


def test_killed(plan, directory):
    """A dump that is killed at its end: the server goes on, or can be restored."""
    if plan.uses_criu:
        raise tool.Skip("it is Stasis that is killed")
    scene, steps = Scene(plan, directory), os.path.join(directory, "steps")
    try:
        if scene.dump_with(STASIS_STEPS_FILE=steps):
            raise tool.Failure(tool.first_error(scene.images, "dump", 1))
        tool.reap()
        scene.restore()
        number = {name: n for n, name in enumerate(tool.steps_of(steps), 1)}
        for step in ("seal", "signal", "killed", "buried", "released"):
            scene.talk(b"before")
            if scene.dump_with(STASIS_KILL_AT=number[step]) != -9:
                raise tool.Failure(f"the dump was not killed at {step}")
            if not tool.wait_for(lambda: tool.alive(scene.pid) != scene.locked(), 10, 0.05):
                raise tool.Failure(f"after a kill at {step} the server is "
                                   f"{'dead and not' if not scene.locked() else 'alive and'} locked")
            scene.say(step.encode())
            if not tool.alive(scene.pid):
                tool.reap()
                scene.restore()
            scene.hear(step.encode())
    finally:
        scene.end()


def own_tables(images):
    """The tables of nf_tables that are named after this dump."""
    with open(os.path.join(images, "inventory.img"), "rb") as image:
        inventory = image.read()
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True).stdout.split()
    return [name for name in tables if name.startswith("CRIU-") and name[5:].encode() in inventory]


def test_no_sockets(plan, directory):
    """CRIU leaves a table even for a tree without sockets."""
    pid = tool.start(["/usr/bin/sleep", "1000"], directory, plan.uid)
    images = os.path.join(directory, "images")
    os.mkdir(images)
    try:
        time.sleep(0.1)
        plan.dumper.dump(pid, images, ["--network-lock", "nftables"])
        if bool(own_tables(images)) != plan.dumper.is_criu:
            raise tool.Failure(f"the dump left the tables {own_tables(images)}")
        plan.restorer.restore(pid, images, [])
        if own_tables(images):
            raise tool.Failure("the restore left the table")
    finally:
        tool.kill_tree(pid)
        tool.reap()


TESTS = {
    "kept": test_kept,
    "kept_v6": test_kept_v6,
    "nftables": test_nftables,
    "running_on": test_running_on,
    "failed_restore": test_failed_restore,
    "refused_dump": test_refused_dump,
    "killed": test_killed,
    "no_sockets": test_no_sockets,
}


if __name__ == "__main__":
    sys.exit(tool.main(__doc__, TESTS))
