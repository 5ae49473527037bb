#!/usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""tracing.py - what --trace records is what was said; it can be drawn and said again.

Alone:   sudo /usr/bin/python3 tests/harness/tracing.py [options] [test...]
         options as cr.py's

The target is programs/bundle, which needs every worker. The log, which names each message, is what
a trace is compared with; the trace is read by a few lines of our own. The last line is "N passed,
N failed, N skipped".
"""
import os
import re
import struct
import subprocess
import sys
import xml.etree.ElementTree as xml

import tool

KEEP = ["--file-locks", "--tcp-established"]
SVG = "{http://www.w3.org/2000/svg}"


# -- the format: proto/control/trace.proto ---------------------------------------------

def varint(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 128:
            return value, at


def fields(data):
    """Number -> value (int or bytes) of a message; of a repeated field the last."""
    found, at = {}, 0
    while at < len(data):
        key, at = varint(data, at)
        if key & 7 == 0:
            value, at = varint(data, at)
        elif key & 7 == 2:
            size, at = varint(data, at)
            value, at = data[at:at + size], at + size
        else:
            raise tool.Failure(f"wire type {key & 7}")
        found[key >> 3] = value
    return found


class Trace:
    """A file of --trace."""

    def __init__(self, path):
        with open(path, "rb") as file:
            data = file.read()
        if data[:8] != b"STASISt1":
            raise tool.Failure(f"the trace begins with {data[:8]}")
        at, self.stages, self.requests, self.replies, last = 8, [], [], [], 0
        self.messages = []		# of the requests: number -> value
        while at < len(data):
            size = struct.unpack_from("<I", data, at)[0]
            record = fields(data[at + 4:at + 4 + size])
            at += 4 + size
            if record[1] < last:
                raise tool.Failure("time goes back")
            last = record[1]
            self.add(record)

    def add(self, record):
        if 3 in record:
            edge = fields(record[3])
            self.stages.append((edge[1].decode(), edge[2]))
        elif 4 in record:
            request = fields(record[4])
            self.messages.append(fields(request[3]))
            self.requests.append((request[1].decode(), self.messages[-1][1], record[1]))
        elif 5 in record:
            reply = fields(record[5])
            message = fields(reply[2])
            self.replies.append((reply[1].decode(), message[1], record[1], message))


def logged(path, pattern):
    with open(path, errors="replace") as log:
        return re.findall(pattern, log.read())


# -- what is traced --------------------------------------------------------------------

def start(directory):
    home = os.path.join(directory, "home")
    os.mkdir(home)
    pid = tool.start([tool.build("programs/bundle", ["programs/bundle.c"]), home], home)
    if not tool.wait_for(lambda: os.path.exists(os.path.join(home, "ready")), 20):
        raise tool.Failure("bundle does not start")
    return pid


def traced(plan, directory):
    """Freeze and thaw: the directory of images, logs, dump.trace and restore.trace."""
    pid = start(directory)
    images = os.path.join(directory, "images")
    os.mkdir(images)
    plan.dumper.dump(pid, images, KEEP + ["--trace", "dump.trace"])
    plan.restorer.restore(pid, images, KEEP + ["--trace", "restore.trace"])
    tool.kill_tree(pid)
    return images


def check_conversation(images, action):
    """The trace has what the log has, and each request one reply, after it."""
    log = os.path.join(images, action + ".log")
    trace = Trace(os.path.join(images, action + ".trace"))
    asked = [(worker, int(number)) for worker, number in logged(log, r" -> (\w+): \w+ \((\d+)\)")]
    if not asked or asked != [request[:2] for request in trace.requests]:
        raise tool.Failure(f"{action}: the log has requests {asked}, the trace {trace.requests}")
    if sorted(asked) != sorted(reply[:2] for reply in trace.replies):
        raise tool.Failure(f"{action}: requests {asked}, replies {trace.replies}")
    sent = {request[1]: request[2] for request in trace.requests}
    for worker, number, taken, message in trace.replies:
        if not sent[number] <= message[6] <= message[7] <= taken:
            raise tool.Failure(f"{action}: request {number} of {worker} was asked at {sent[number]}, "
                               f"worked on from {message[6]} to {message[7]}, answered at {taken}")
    stages = logged(log, r"\] stage (\w+)")
    wanted = [(name, edge) for name in stages for edge in (1, 2)]
    if not stages or wanted != trace.stages:
        raise tool.Failure(f"{action}: the log has stages {stages}, the trace {trace.stages}")
    if {worker for worker, _ in asked} != {"mem", "files", "net"}:
        raise tool.Failure(f"{action}: messages to {asked}")


def texts_of(stasis, path):
    run = subprocess.run([stasis, "timeline", path], capture_output=True)
    if run.returncode:
        raise tool.Failure("timeline: " + run.stderr.decode(errors="replace"))
    return [text.text for text in xml.fromstring(run.stdout).iter(SVG + "text")]


def check_picture(stasis, images, action):
    log, texts = os.path.join(images, action + ".log"), texts_of(stasis, f"{images}/{action}.trace")
    for worker, request in logged(log, r" -> (\w+): (\w+) \("):
        if worker not in texts:
            raise tool.Failure(f"{action}: no row {worker} in {texts}")
        if not any(re.fullmatch(request + r" [\d.e+]+ [mu]s", text) for text in texts):
            raise tool.Failure(f"{action}: no bar {request} in {texts}")
    for stage in logged(log, r"\] stage (\w+)"):
        if not any(re.fullmatch(stage + r" [\d.e+]+ [mu]s", text) for text in texts):
            raise tool.Failure(f"{action}: no bar {stage} in {texts}")


def replay(stasis, images, name, trace="restore.trace"):
    """Replay to a worker's program: exit status and what was said."""
    path = os.path.join(images, name + ".sock")
    worker = subprocess.Popen([f"{stasis}-{name}", "--listen", "ipc://" + path],
                              stdin=subprocess.DEVNULL)
    if not tool.wait_for(lambda: tool.listens(path + ".fds"), 20):
        raise tool.Failure(f"stasis-{name} does not start")
    run = subprocess.run([stasis, "replay", os.path.join(images, trace), "-D", images, "-o",
                          "replay.log", "-v4", "--worker", f"{name}=ipc://{path}"],
                         stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    try:
        worker.wait(10)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()
    if worker.returncode:
        raise tool.Failure(f"stasis-{name} ended with status {worker.returncode}: {run.stderr}")
    return run.returncode, run.stdout + run.stderr


def differing(said):
    """The messages whose replies have a line that only one of both has."""
    name, found = None, []
    for line in said.splitlines():
        if not line.startswith(" "):
            name = line.split(" ")[0]
        elif line.startswith(("  - ", "  + ")) and name not in found:
            found.append(name)
    return found


# -- the tests -------------------------------------------------------------------------

def test_conversation(plan, directory):
    """Every message of a dump and a restore."""
    images = traced(plan, directory)
    check_conversation(images, "dump")
    check_conversation(images, "restore")


def test_timeline(plan, directory):
    """The pictures have every stage, worker and request."""
    images = traced(plan, directory)
    check_picture(plan.dumper.path, images, "dump")
    check_picture(plan.dumper.path, images, "restore")


def test_replay(plan, directory):
    """Workers say of the same images what they said then."""
    images = traced(plan, directory)
    for name in ("files", "mem", "net"):
        status, said = replay(plan.dumper.path, images, name)
        if status:
            raise tool.Failure(f"replay to {name}: status {status}: {said}")
        for message in ("setup", name + "_prepare"):
            if not re.search(rf"^{message} \(request \d+\): recorded OK, now OK$", said, re.M):
                raise tool.Failure(f"replay to {name}: no {message} in {said}")
        if differing(said) != ["gates"]:
            raise tool.Failure(f"replay to {name}: differs in {differing(said)}: {said}")
        if re.findall(r"^    (\w+):$", said, re.M) != [name + "_prepared"]:
            raise tool.Failure(f"replay to {name}: not just the one message: {said}")
        if "\n2 of " not in said or "2 replies the same, 0 differ" not in said:
            raise tool.Failure(f"replay to {name}: {said}")


def test_other_images(plan, directory):
    """Of other images they say something else, which is shown and ends the replay."""
    images = traced(plan, directory)
    os.unlink(os.path.join(images, "files.img"))
    status, said = replay(plan.dumper.path, images, "files")
    if status != 1 or differing(said) != ["files_prepare"] or "files.img" not in said:
        raise tool.Failure(f"status {status}: {said}")
    if "1 replies the same, 1 differ" not in said or "\ngates" in said:
        raise tool.Failure(f"it went on: {said}")


def test_no_such_conversation(plan, directory):
    """Nothing was said to gpu; a worker has to be named."""
    images = traced(plan, directory)
    for options, words in ((["--worker", "gpu=ipc:///x"], "nothing was said"),
                           (["--worker", "gnu=ipc:///x"], "NAME=URL"), ([], "which worker"),
                           (["--worker", "mem=ipc:///nobody"], "start it first")):
        run = subprocess.run([plan.dumper.path, "replay", images + "/restore.trace"] + options,
                             capture_output=True, text=True)
        if run.returncode != 1 or words not in run.stderr:
            raise tool.Failure(f"{options}: status {run.returncode}: {run.stderr}")


def test_killed_worker(plan, directory):
    """A worker that dies leaves a request without reply; the trace of a failure is drawn, too."""
    pid = start(directory)
    images = os.path.join(directory, "images")
    os.mkdir(images)
    with tool.environment(STASIS_KILL_WORKER_AT=3):
        status = plan.dumper.run("dump", images, "dump.log",
                                 KEEP + ["-t", str(pid), "--trace", "dump.trace"])
    trace = Trace(os.path.join(images, "dump.trace"))
    if status != 1 or len(trace.replies) >= len(trace.requests):
        raise tool.Failure(f"status {status}, {len(trace.requests)} requests, "
                           f"{len(trace.replies)} replies")
    if 3 not in [edge for _, edge in trace.stages]:
        raise tool.Failure(f"no failed stage: {trace.stages}")
    texts = texts_of(plan.dumper.path, images + "/dump.trace")
    if not any("(no reply)" in text for text in texts) or not any("FAILED" in t for t in texts):
        raise tool.Failure(f"the picture has {texts}")


def test_damaged(plan, directory):
    """A trace that is cut off is one sentence, for both commands."""
    images = traced(plan, directory)
    path = os.path.join(images, "restore.trace")
    os.truncate(path, os.path.getsize(path) - 1)
    for argv in (["timeline", path], ["replay", path, "--worker", "mem=ipc:///x"]):
        run = subprocess.run([plan.dumper.path] + argv, capture_output=True, text=True)
        if run.returncode != 1 or run.stdout or len(run.stderr.splitlines()) != 1 or \
           "cut off" not in run.stderr or path not in run.stderr:
            raise tool.Failure(f"{argv[0]}: status {run.returncode}: {run.stdout}{run.stderr}")


def test_full_disk(plan, directory):
    """A trace that cannot be written ends; the dump does not."""
    pid = start(directory)
    images = os.path.join(directory, "images")
    os.mkdir(images)
    plan.dumper.dump(pid, images, KEEP + ["--trace", "/dev/full"])
    if len(logged(os.path.join(images, "dump.log"), "the trace ends here")) != 1:
        raise tool.Failure("no warning, or many")


TESTS = {
    "conversation": test_conversation,
    "timeline": test_timeline,
    "replay": test_replay,
    "other_images": test_other_images,
    "no_such_conversation": test_no_such_conversation,
    "killed_worker": test_killed_worker,
    "damaged": test_damaged,
    "full_disk": test_full_disk,
}


if __name__ == "__main__":
    sys.exit(tool.main(__doc__, TESTS))
