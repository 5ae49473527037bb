#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""crash.py - kill stasis at any moment: a dumped task is never hurt, a restored one never half there.

Alone:   sudo /usr/bin/python3 tests/harness/crash.py [options] [dump] [novdso] [tcp]
         [unix] [redis] [end] [restore]
         --stasis PATH           the program under test
         --random 60             kills at random moments
         --stride 1              kill after every Nth step only

Dump:    programs/busy is dumped with --leave-running; the coordinator is killed after each single
         step of the sequence (STASIS_KILL_AT), at random moments, and a worker is killed
         after each step (STASIS_KILL_WORKER_AT). Each time the target must go on: every thread
         makes progress, its own checks find nothing, same mappings, masks and threads, nobody
         traces it, no process of stasis is left.
Novdso:  the same with a target that has unmapped its vDSO.
Tcp:     the same with a target that talks over TCP connections: they go on, and the network
         is not locked.
Redis:   the same with a Redis of 100 MB under load; its clients get the right answers.
Unix:    the same with a target that has datagrams in sockets: it peeks from where it did.
End:     a small tree is dumped for good: from the first task's end on all end.
Restore: a small tree is dumped, then restored with the same kills. Afterwards no task of the
         tree may exist, unless the restore was over.
The last line is "N passed, N failed, N skipped".
"""
import argparse
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

import servers
import tool

PROGRAMS = "tests/programs"
BUSY_WORKERS = 256		# offsets of programs/busy.h
BUSY_WORKER = 64


class Stasis:
    """Runs of the program under test that may be killed."""

    def __init__(self, path, directory):
        self.path = os.path.realpath(path)
        self.directory = directory

    def start(self, action, images, options, env):
        out = open(os.path.join(images, action + ".out"), "wb")
        with out:
            return subprocess.Popen(
                [self.path, action, "-D", images, "-o", action + ".log", "-v4"] + options,
                env={**tool.clean_env(), **env}, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                cwd=images, start_new_session=True)

    def run(self, action, images, options, **env):
        """Returns the exit status, negative when killed. All its processes must end with it."""
        return self.finish(self.start(action, images, options, env))

    def finish(self, child):
        status = reap_until(child.pid, 60)
        if status is None:
            os.kill(child.pid, signal.SIGKILL)
            raise tool.Failure("stasis hangs")
        child.returncode = status
        if not tool.wait_for(lambda: not group_exists(child.pid), 10):
            raise tool.Failure("a process of stasis is left")
        return status


def reap_until(wanted, seconds):
    """Wait for a child, and be init for orphans meanwhile (stasis waits until they are reaped)."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == wanted:
            return os.waitstatus_to_exitcode(status)
        if pid == 0:
            time.sleep(0.001)
    return None


def group_exists(pgid):
    """Whether a process of this session leader's group is alive (zombies are ours to reap)."""
    for pid in tool.parents():
        try:
            if os.getpgid(pid) == pgid and tool.alive(pid):
                return True
        except OSError:
            pass
    return False


def fresh(path):
    shutil.rmtree(path, ignore_errors=True)
    os.mkdir(path)
    return path


# -- the dumped task ------------------------------------------------------------

class Busy:
    """programs/busy and what it was like before."""

    def __init__(self, directory, options=()):
        self.page = os.path.join(directory, "page")
        self.directory = directory
        self.options = list(options)
        self.start()

    def start(self):
        with open(self.page, "wb"):
            pass
        program = os.path.join(tool.ROOT, "build", PROGRAMS, "busy")
        self.pid = tool.start([program] + self.options + [self.page], self.directory)
        if not tool.wait_for(lambda: self.read()[:8] == b"BUSYSIS!", 10):
            raise tool.Failure("busy does not start")
        self.settle()

    def settle(self):
        """Every thread is at its work, with the signals blocked that it blocks."""
        if not tool.wait_for(lambda: self.rounds() and min(self.rounds()) > 1, 20):
            raise tool.Failure("busy does not begin its work")

        def settled():
            before = self.thread_states()
            time.sleep(0.1)
            return before if before == self.thread_states() else None

        self.threads = tool.wait_for(settled, 20)
        if not self.threads:
            raise tool.Failure("busy does not settle")
        self.maps = self.text("maps")

    def stop(self):
        tool.kill_tree(self.pid)
        tool.reap()

    def read(self):
        with open(self.page, "rb") as page:
            return page.read(4096)

    def text(self, name):
        with open(f"/proc/{self.pid}/{name}") as lines:
            return lines.read()

    def thread_states(self):
        """tid -> (tracer, blocked signals)"""
        states = {}
        for tid in sorted(os.listdir(f"/proc/{self.pid}/task"), key=int):
            fields = dict(line.split(":", 1) for line in
                          self.text(f"task/{tid}/status").splitlines() if ":" in line)
            states[tid] = (fields["TracerPid"].strip(), fields["SigBlk"].strip())
        return states

    def rounds(self):
        page = self.read()
        count = struct.unpack_from("<I", page, 12)[0]
        return [struct.unpack_from("<Q", page, BUSY_WORKERS + i * BUSY_WORKER)[0]
                for i in range(count)]

    def check(self):
        """Raise when it was altered."""
        if not tool.alive(self.pid):
            raise tool.Failure("the target died")
        before = self.rounds()
        if not tool.wait_for(lambda: all(b > a for a, b in zip(before, self.rounds())), 20, 0.002):
            now = self.rounds()
            raise tool.Failure("threads stand still: " +
                               str([i for i, a in enumerate(before) if now[i] == a]))
        page = self.read()
        if struct.unpack_from("<Q", page, 16)[0]:
            raise tool.Failure("the target noticed: " +
                               page[24:224].split(b"\0")[0].decode(errors="replace"))
        if not tool.wait_for(lambda: self.thread_states() == self.threads, 10):
            raise tool.Failure(f"threads are not as before: {self.thread_states()}")
        if not tool.wait_for(lambda: self.text("maps") == self.maps, 10):
            raise tool.Failure("mappings are not as before")
        if self.text("stat").rsplit(")", 1)[1].split()[0] in "Tt":
            raise tool.Failure("the target is stopped")
        if not tool.wait_for(lambda: not self.is_locked(), 10):
            raise tool.Failure("the network is locked")

    def is_locked(self):
        """Whether the packet filter has a rule for our port."""
        port = struct.unpack_from("<Q", self.read(), 224)[0]
        if not port:
            return False
        return f". {port}" in ruleset()


class LoadedRedis:
    """A Redis with 100 MB whose clients never stop asking."""

    def __init__(self, directory):
        self.directory = directory
        self.start()

    def start(self):
        plan = argparse.Namespace(uid=None, uses_criu=False)
        self.server = servers.Redis(self.directory, plan)
        self.pid = self.server.start()

    def stop(self):
        for client in self.server.running:
            client.stopping = True
        tool.kill_tree(self.pid)
        tool.reap()

    def check(self):
        """Raise when a client was disturbed."""
        if not tool.alive(self.pid):
            raise tool.Failure("the target died")
        before = self.server.progress()
        if not tool.wait_for(lambda: self.server.progress() > before, 20, 0.002):
            raise tool.Failure("a client gets no answer")
        if not tool.wait_for(lambda: f". {self.server.port}" not in ruleset(), 10):
            raise tool.Failure("the network is locked")


def ruleset():
    listed = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=False)
    if listed.returncode:
        raise tool.Failure("nft list ruleset: " + listed.stderr.strip())
    return listed.stdout


class Score:
    """A row of the table for each way to kill."""

    def __init__(self):
        self.rows = []
        self.failures = 0

    def begin(self, name):
        self.rows.append({"name": name, "runs": 0, "midway": 0, "harmed": 0})

    def count(self, midway, failure=None):
        row = self.rows[-1]
        row["runs"] += 1
        row["midway"] += midway
        if failure:
            row["harmed"] += 1
            if row["harmed"] <= 5:
                print(f"FAIL {row['name']}: {failure}", flush=True)

    def finish(self):
        print(f"{'':46}{'runs':>7}{'midway':>8}{'harmed':>8}")
        for row in self.rows:
            print(f"{row['name']:46}{row['runs']:7}{row['midway']:8}{row['harmed']:8}")
        for row in self.rows:
            if row["name"].endswith("each step") and row["runs"] > 3 and not row["midway"]:
                print(f"FAIL {row['name']}: nobody was killed midway")
                row["harmed"] += 1
        failed = sum(row["harmed"] > 0 for row in self.rows)
        print(f"{len(self.rows) - failed} passed, {failed} failed, 0 skipped")
        return 1 if failed else 0


def judge(score, target, midway, what, ran):
    """ran() is the run, or raises; then the target is looked at, and replaced when it was hurt."""
    try:
        status = ran()
        target.check()
        score.count(midway(status))
    except (tool.Failure, OSError) as failure:
        score.count(0, f"{what}: {failure}")
        target.stop()
        target.start()


def dump_options(target):
    return ["-t", str(target.pid), "--leave-running", "--tcp-established"]


def good_dump(stasis, target, images, **env):
    """A dump to which nothing happens: how long it takes."""
    started = time.monotonic()
    status = stasis.run("dump", fresh(images), dump_options(target), **env)
    took = time.monotonic() - started
    if status:
        raise tool.Failure("dump: " + tool.first_error(images, "dump", status))
    target.check()
    return took


def measure_dump(stasis, target, images):
    """The names of a dump's steps, and how long one takes."""
    steps = os.path.join(images, "steps")
    duration = min(good_dump(stasis, target, images) for _ in range(5))	# kills must come midway
    good_dump(stasis, target, images, STASIS_STEPS_FILE=steps)
    return tool.steps_of(steps), duration


def kill_dump_steps(stasis, target, score, images, names, args, what):
    for name, variable in (("coordinator", "STASIS_KILL_AT"), ("worker", "STASIS_KILL_WORKER_AT")):
        score.begin(f"dump{what}, {name}, each step")
        for n in range(1, len(names) + 1, args.stride):
            judge(score, target,
                  lambda status, n=name: status != 0 if n == "worker" else status == -signal.SIGKILL,
                  f"step {n} ({names[n - 1]})",
                  lambda n=n, v=variable: stasis.run("dump", fresh(images), dump_options(target),
                                                     **{v: str(n)}))


def kill_after(stasis, child, delay):
    time.sleep(delay)
    os.kill(child.pid, signal.SIGKILL)		# child.kill() might reap it
    return stasis.finish(child)


def kill_dump_anywhere(stasis, target, score, images, duration, args, what):
    score.begin(f"dump{what}, coordinator, random moments")
    for n in range(args.random):
        delay = random.uniform(0, duration)

        def ran():
            child = stasis.start("dump", fresh(images), dump_options(target), {})
            return kill_after(stasis, child, delay)
        judge(score, target, lambda status: status == -signal.SIGKILL, f"kill {n}", ran)


def test_dump(stasis, score, directory, args, options=(), what=""):
    test_dump_of(Busy(directory, options), stasis, score, directory, args, what)


def test_dump_of(target, stasis, score, directory, args, what):
    images = os.path.join(directory, "images")
    try:
        names, duration = measure_dump(stasis, target, images)
        print(f"a dump{what} has {len(names)} steps and takes {duration * 1000:.1f} ms", flush=True)
        kill_dump_steps(stasis, target, score, images, names, args, what)
        kill_dump_anywhere(stasis, target, score, images, duration, args, what)
        good_dump(stasis, target, images)
    finally:
        target.stop()


def test_dump_without_vdso(stasis, score, directory, args):
    test_dump(stasis, score, directory, args, ["-v"], " without vDSO")


def test_dump_with_connections(stasis, score, directory, args):
    test_dump(stasis, score, directory, args, ["-c"], " with connections")


def test_dump_of_redis(stasis, score, directory, args):
    if not shutil.which("redis-server"):
        raise tool.Failure("no redis-server here")
    test_dump_of(LoadedRedis(directory), stasis, score, directory, args, " of a loaded Redis")


def test_dump_with_datagrams(stasis, score, directory, args):
    test_dump(stasis, score, directory, args, ["-u"], " with datagrams in sockets")


# -- the restored tree ----------------------------------------------------------

def nobody_left(pids):
    """Raise when a task of the tree exists."""
    if tool.wait_for(lambda: not [p for p in pids if tool.alive(p)], 5):
        tool.reap()
        return
    left = [p for p in pids if tool.alive(p)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    tool.wait_for(lambda: not [p for p in pids if tool.alive(p)], 5)
    tool.reap()
    raise tool.Failure(f"tasks are left: {left}")


def end_tree(pids):
    for pid in pids:
        if tool.alive(pid):
            os.kill(pid, signal.SIGKILL)
    nobody_left(pids)


def start_tree(directory):
    """A small tree; returns its root, the directory where it checks itself, and its pids."""
    program = os.path.join(tool.ROOT, "build", PROGRAMS, "tree")
    home = fresh(os.path.join(directory, "tree"))
    root = tool.start([program, "-p", "4", "-t", "3", home], home)
    if not tool.wait_for(lambda: os.path.exists(os.path.join(home, "ready")), 10):
        raise tool.Failure("tree does not start")
    # Who wrote "ready" is about to be the tree's zombie.
    tool.wait_for(lambda: not all(tool.alive(pid) for pid in tool.tree(root)), 10)
    pids = [pid for pid in tool.tree(root) if tool.alive(pid)]
    return root, home, pids


def dump_tree(stasis, directory, images):
    """Dump a small tree; returns its pids. It is gone afterwards."""
    root, _, pids = start_tree(directory)
    status = stasis.run("dump", fresh(images), ["-t", str(root)])
    if status:
        raise tool.Failure("dump: " + tool.first_error(images, "dump", status))
    end_tree(pids)
    return pids


def is_whole(home):
    """Let a restored tree check itself and end. Whether every task and thread was content."""
    result = os.path.join(home, "result")
    with open(os.path.join(home, "go"), "w"):
        pass
    tool.wait_for(lambda: os.path.exists(result) and os.path.getsize(result), 20)
    try:
        with open(result) as text:
            return text.read().startswith("ok")
    except OSError:
        return False
    finally:
        for name in ("go", "result", "failures"):
            if os.path.exists(os.path.join(home, name)):
                os.unlink(os.path.join(home, name))


def is_gone(home, pids, killed):
    """The tree after a run: gone (True) or there as a whole (False); raises when half of it is there."""
    if killed and tool.wait_for(lambda: not [p for p in pids if tool.alive(p)], 2):
        tool.reap()
        return True
    if not all(tool.alive(pid) for pid in pids):
        nobody_left(pids)
        return True
    try:
        if not is_whole(home):
            raise tool.Failure("the tree is not whole")
    finally:
        end_tree(pids)
    return False


def restore_once(stasis, images, pids, env, delay=None):
    """
    A restore that is killed. Returns whether the tree is gone: it stays when the restore was over, or the kill
    came after the tasks were let go.
    """
    child = stasis.start("restore", images, ["-d"], env)
    status = stasis.finish(child) if delay is None else kill_after(stasis, child, delay)
    return is_gone(os.path.join(stasis.directory, "tree"), pids, status)


def test_end(stasis, score, directory, args):
    """A dump that ends the tree: killed when it does so, or before, all of the tree is gone or none."""
    images = os.path.join(directory, "end-images")
    steps = os.path.join(directory, "end-steps")
    root, _, pids = start_tree(directory)
    status = stasis.run("dump", fresh(images), ["-t", str(root)], STASIS_STEPS_FILE=steps)
    if status:
        raise tool.Failure("dump: " + tool.first_error(images, "dump", status))
    end_tree(pids)
    names = tool.steps_of(steps)
    score.begin("dump that ends the tree, each step")
    first = names.index("signal") + 1
    for n in [*range(1, first, max(args.stride, first // 8)), *range(first, len(names) + 1)]:
        root, home, pids = start_tree(directory)
        status = stasis.run("dump", fresh(images), ["-t", str(root)], STASIS_KILL_AT=str(n))
        judge_restore(score, f"step {n} ({names[n - 1]})",
                      lambda home=home, pids=pids, n=n: expect_end(home, pids, n >= first, status))


def expect_end(home, pids, gone, status):
    """Before the first signal the tree runs on; from then on it is gone. Returns whether the dump was killed."""
    if is_gone(home, pids, gone) != gone:
        raise tool.Failure("the tree is there" if gone else "the tree is gone")
    return status == -signal.SIGKILL


def judge_restore(score, what, ran):
    try:
        score.count(ran())
    except (tool.Failure, OSError) as failure:
        score.count(0, f"{what}: {failure}")


def kill_restores(stasis, score, images, pids, steps, duration, args):
    for name, variable in (("coordinator", "STASIS_KILL_AT"), ("worker", "STASIS_KILL_WORKER_AT")):
        score.begin(f"restore, {name}, each step")
        for n in range(1, len(steps) + 1, args.stride):
            judge_restore(score, f"step {n} ({steps[n - 1]})",
                          lambda n=n, v=variable: restore_once(stasis, images, pids, {v: str(n)}))
    score.begin("restore, coordinator, random")
    for n in range(args.random):
        judge_restore(score, f"kill {n}",
                      lambda: restore_once(stasis, images, pids, {},
                                           random.uniform(0, duration)))


def test_restore(stasis, score, directory, args):
    images = os.path.join(directory, "tree-images")
    pids = dump_tree(stasis, directory, images)
    steps = os.path.join(directory, "steps")
    durations = []
    for _ in range(3):
        if os.path.exists(steps):
            os.unlink(steps)
        started = time.monotonic()
        status = stasis.run("restore", images, ["-d"], STASIS_STEPS_FILE=steps)
        durations.append(time.monotonic() - started)
        if status:
            raise tool.Failure("restore: " + tool.first_error(images, "restore", status))
        end_tree(pids)
    duration = min(durations)
    names = tool.steps_of(steps)
    print(f"a restore has {len(names)} steps and takes {duration * 1000:.1f} ms", flush=True)
    kill_restores(stasis, score, images, pids, names, duration, args)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--stasis", default=os.path.join(tool.ROOT, "build", "stasis"))
    parser.add_argument("--random", type=int, default=60)
    parser.add_argument("--stride", type=int, default=1)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("what", nargs="*",
                        choices=[[], "dump", "novdso", "tcp", "unix", "redis", "end", "restore"])
    args = parser.parse_args()
    if os.getuid():
        print("SKIP all: needs root")
        print("0 passed, 0 failed, 1 skipped")
        return 77
    tool.enter_private_namespaces()
    random.seed(args.seed)
    print(f"seed {args.seed}")
    score = Score()
    with tempfile.TemporaryDirectory(prefix="stasis-crash-") as directory:
        stasis = Stasis(args.stasis, directory)
        for name, test in (("dump", test_dump), ("novdso", test_dump_without_vdso),
                           ("tcp", test_dump_with_connections),
                           ("unix", test_dump_with_datagrams),
                           ("redis", test_dump_of_redis),
                           ("end", test_end), ("restore", test_restore)):
            if args.what and name not in args.what:
                continue
            try:
                test(stasis, score, directory, args)
            except (tool.Failure, OSError) as failure:
                score.begin(name)
                score.count(0, failure)
    return score.finish()


if __name__ == "__main__":
    sys.exit(main())
