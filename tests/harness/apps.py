#!/usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""apps.py - freeze and thaw programs that nobody wrote for it.

Alone:   sudo /usr/bin/python3 tests/harness/apps.py [options] [app...]
         the options are those of cr.py

Each program runs, is dumped (and must be gone), restored, must make progress,
is dumped and restored again; at the end its whole output is verified, so a line
or a byte lost, doubled or changed is found. The last line is "N passed, N
failed, N skipped".
"""
import argparse
import os
import shutil
import struct
import subprocess
import sys
import time

import tool

PROGRAMS = os.path.join(tool.ROOT, "tests", "programs")
APPS = os.path.join(tool.ROOT, "tests", "apps")
PYTHON = "/usr/bin/python3"
PROGRESS_S = 30


def lines_of(path):
    """Complete lines of a file that is being appended to."""
    try:
        with open(path, encoding="utf-8", errors="replace") as text:
            return text.read().split("\n")[:-1]
    except FileNotFoundError:
        return []


def check_sequence(path, expected):
    """Line N must be expected(N)."""
    lines = lines_of(path)
    for number, line in enumerate(lines, 1):
        if line != expected(number):
            raise tool.Failure(f"line {number} is {line!r}, not {expected(number)!r}")
    if not lines:
        raise tool.Failure("no output")


class App:
    """One program. Subclasses say how to start it, how far it is, whether it is right."""

    options = []
    criu_fails = None		# why CRIU 4.2 cannot restore it

    def __init__(self, directory, plan):
        self.dir = directory
        self.plan = plan
        self.out = os.path.join(directory, "out")

    def need(self, *programs):
        for program in programs:
            if not shutil.which(program, path="/usr/bin:/bin:/usr/sbin"):
                raise tool.Skip(f"no {program} here")

    def argv(self):
        raise NotImplementedError

    def progress(self):
        return len(lines_of(self.out))

    def poke(self):
        """Called before each look at the progress, for programs that wait for input."""

    def finish(self, pid):
        """The last thaw was good; verify everything."""

    def run(self):
        if self.criu_fails and self.plan.uses_criu:
            raise tool.Skip(self.criu_fails)
        pid = tool.start(self.argv(), self.dir, self.plan.uid)
        self.wait_progress(pid, 0, "does not start")
        for number in range(self.plan.cycles):
            time.sleep(0.2)
            self.plan.cycle(pid, self.dir, number, self.options)
            self.wait_progress(pid, self.progress(), f"stands still after thaw {number + 1}")
        time.sleep(0.2)
        self.finish(pid)
        tool.kill_tree(pid)

    def wait_progress(self, pid, beyond, complaint):
        def moved():
            self.poke()
            return self.progress() > beyond or not tool.alive(pid)

        if not tool.wait_for(moved, PROGRESS_S, 0.02):
            raise tool.Failure(complaint)
        if not tool.alive(pid):
            raise tool.Failure(f"{complaint}: it died; " + " ".join(
                lines_of(os.path.join(self.dir, "stderr"))[-2:]))


class BashLoop(App):
    def argv(self):
        self.need("bash")
        return ["bash", "-c", "for ((i = 1; ; i++)); do echo $i; sleep 0.01; done >out"]

    def finish(self, pid):
        check_sequence(self.out, str)


class Pipeline(App):
    """Numbers flow through seven programs; the sums at both ends must agree."""

    last = 150000

    def argv(self):
        self.need("bash", "awk", "gzip", "tee")
        slow = '{ print } NR % 500 == 0 { fflush(); system("sleep 0.01") }'
        return ["bash", "-c", f"seq 1 {self.last} | awk '{slow}' | tee out | gzip -c | gunzip -c |"
                " sort -n | sha256sum >sum; echo ${PIPESTATUS[@]} >status; sleep 1000"]

    def finish(self, pid):
        if not tool.wait_for(lambda: lines_of(os.path.join(self.dir, "status")), 60, 0.1):
            raise tool.Failure("the pipeline did not end")
        status = lines_of(os.path.join(self.dir, "status"))[0]
        if set(status.split()) != {"0"}:
            raise tool.Failure(f"exit statuses {status}")
        expected = subprocess.run(f"seq 1 {self.last} | sha256sum", shell=True, check=True,
                                  stdout=subprocess.PIPE, text=True).stdout.strip()
        if lines_of(os.path.join(self.dir, "sum")) != [expected]:
            raise tool.Failure("the sum of what came out is wrong")
        if tool.digest(self.out) != expected.split()[0]:
            raise tool.Failure("tee's copy is wrong")


class PythonChain(App):
    def argv(self):
        return [PYTHON, os.path.join(PROGRAMS, "chain.py"), self.out, "6"]

    def finish(self, pid):
        check = subprocess.run([PYTHON, os.path.join(PROGRAMS, "chain_check.py"), self.out],
                               check=False, stdout=subprocess.PIPE, text=True)
        if check.returncode:
            raise tool.Failure(check.stdout.strip())


class PythonWorkers(App):
    def argv(self):
        return [PYTHON, os.path.join(APPS, "workers.py"), self.out]

    def finish(self, pid):
        check_sequence(self.out, lambda n: f"{n} {n * n}")


class Perl(App):
    """A timer signal drives it; a child behind two pipes does the work."""

    program = r"""
        use IO::Handle; use Time::HiRes qw(setitimer ITIMER_REAL);
        pipe(my $ar, my $aw); pipe(my $br, my $bw);
        if (!fork) { close $aw; close $br; $bw->autoflush(1);
            while (my $n = <$ar>) { chomp $n; print $bw $n * 3, "\n" } exit 0 }
        close $ar; close $bw; $aw->autoflush(1);
        open(my $out, ">", "out"); $out->autoflush(1);
        my $ticks = 0; $SIG{ALRM} = sub { $ticks++ };
        setitimer(ITIMER_REAL, 0.01, 0.01);
        for (my $n = 1; ; ) { sleep 1000 until $ticks; $ticks = 0;
            print $aw "$n\n"; my $got; $got = <$br> until defined $got; print $out "$n $got"; $n++ }
        """

    def argv(self):
        self.need("perl")
        return ["perl", "-e", self.program]

    def finish(self, pid):
        check_sequence(self.out, lambda n: f"{n} {n * 3}")


class Java(App):
    def argv(self):
        self.need("java", "javac")
        subprocess.run(["javac", "-d", self.dir, os.path.join(APPS, "Ticker.java")], check=True)
        return ["java", "-Xmx64m", "-cp", self.dir, "Ticker", self.out]

    def finish(self, pid):
        check_sequence(self.out, lambda n: f"{n} {n * (n + 1) // 2}")


class Sqlite(App):
    """A transaction that is open from before the first dump to after the last thaw."""

    options = ["--file-locks"]
    rows = 0

    def argv(self):
        self.need("sqlite3")
        os.mkfifo(os.path.join(self.dir, "in"))
        os.chmod(os.path.join(self.dir, "in"), 0o666)
        subprocess.run(["sqlite3", os.path.join(self.dir, "db"), "create table t(n, square);"],
                       check=True)
        os.chmod(os.path.join(self.dir, "db"), 0o666)
        # the reader holds the writing end too: no end of file between our writes
        return ["bash", "-c", "exec sqlite3 -batch db 0<>in >out"]

    def feed(self, text):
        with open(os.path.join(self.dir, "in"), "w", encoding="ascii") as pipe:
            pipe.write(text)

    def poke(self):
        if self.rows == 0:
            self.feed("begin immediate;\n")
        if self.rows == self.progress():
            self.rows += 1
            self.feed(f"insert into t values({self.rows}, {self.rows ** 2});"
                      f"select max(n) from t;\n")

    def finish(self, pid):
        count = "select count(*), sum(n), sum(square) from t"
        argv = ["sqlite3", os.path.join(self.dir, "db"), count]
        early = subprocess.run(argv, check=False, capture_output=True, text=True)
        if early.stdout.strip() not in ("0||", ""):
            raise tool.Failure("the transaction was not open: " + early.stdout)
        tool.wait_for(lambda: self.progress() == self.rows, 10)
        self.feed("commit;\nselect 'done';\n")
        tool.wait_for(lambda: "done" in lines_of(self.out), 10)
        n = self.rows
        got = subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
        want = f"{n}|{n * (n + 1) // 2}|{n * (n + 1) * (2 * n + 1) // 6}"
        if got != want:
            raise tool.Failure(f"the database says {got}, not {want}")
        ok = subprocess.run(argv[:2] + ["pragma integrity_check"], check=True,
                            stdout=subprocess.PIPE, text=True).stdout.strip()
        if ok != "ok":
            raise tool.Failure(ok)


class PtyShell(App):
    def argv(self):
        return [PYTHON, os.path.join(APPS, "pty_shell.py"), self.out]

    def finish(self, pid):
        check_sequence(self.out, lambda n: f"{n} {n * n}")


class Script(App):
    """script(1): a terminal made by a program that nobody wrote for us."""

    criu_fails = "script gives up when poll says EINTR, as it does after CRIU"

    def argv(self):
        self.need("script")
        inner = "for ((i = 1; ; i++)); do echo $i; sleep 0.01; done"
        return ["script", "-qfc", f"bash -c '{inner}'", "out"]

    def progress(self):
        return len(self.numbers())

    def numbers(self):
        return [line.strip() for line in lines_of(self.out)[1:]]

    def finish(self, pid):
        for number, line in enumerate(self.numbers(), 1):
            if line != str(number):
                raise tool.Failure(f"line {number} is {line!r}")


class Tree(App):
    """100 tasks with 10 threads each."""

    def argv(self):
        self.started = time.monotonic()
        program = tool.build("programs/tree", ["programs/tree.c"])
        return [program, self.dir]

    def progress(self):
        # it waits for "go": existing is its progress
        return time.monotonic() - self.started if os.path.exists(
            os.path.join(self.dir, "ready")) else 0

    def finish(self, pid):
        with open(os.path.join(self.dir, "go"), "w", encoding="ascii"):
            pass
        result = os.path.join(self.dir, "result")
        tool.wait_for(lambda: lines_of(result), 60, 0.05)
        if lines_of(result) != ["ok 100 tasks 1000 threads"]:
            raise tool.Failure("; ".join(lines_of(result) + lines_of(
                os.path.join(self.dir, "failures"))[:3]) or "no result")


class Busy(App):
    """The target of the crash tests, tolerant of EINTR."""

    def argv(self):
        program = tool.build("programs/busy", ["programs/busy.c", "programs/busy.h"])
        return [program, "-t", "-n", "8", self.out]

    def page(self):
        """(rounds of every worker, errors, first error) as busy.h lays them out."""
        try:
            with open(self.out, "rb") as page:
                data = page.read()
        except FileNotFoundError:
            return [], 0, ""
        if len(data) < 256 or not any(data[:8]):
            return [], 0, ""
        count, errors = struct.unpack_from("<IQ", data, 12)
        rounds = [struct.unpack_from("<Q", data, 256 + 64 * i)[0] for i in range(count)]
        return rounds, errors, data[24:224].split(b"\0")[0].decode()

    def progress(self):
        # all threads must move: look at the slowest since the last thaw
        rounds, errors, text = self.page()
        if errors:
            raise tool.Failure(f"{errors} errors: {text}")
        return min(rounds, default=0)

    def finish(self, pid):
        first = self.page()[0]
        if not tool.wait_for(lambda: all(a > b for a, b in zip(self.page()[0], first)), 20, 0.05):
            raise tool.Failure(f"a thread stands still: {first} {self.page()[0]}")
        self.progress()


APP_TABLE = {
    "bash_loop": BashLoop,
    "pipeline": Pipeline,
    "python_chain": PythonChain,
    "python_workers": PythonWorkers,
    "perl": Perl,
    "java": Java,
    "sqlite": Sqlite,
    "pty_shell": PtyShell,
    "script": Script,
    "tree": Tree,
    "busy": Busy,
}


def run_app(name):
    return lambda plan, directory: APP_TABLE[name](directory, plan).run()


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    tool.add_options(parser)
    args = parser.parse_args()
    names = args.names or list(APP_TABLE)
    unknown = [name for name in names if name not in APP_TABLE]
    if unknown:
        parser.error(f"no such app: {unknown[0]}; there are {' '.join(APP_TABLE)}")
    if args.list:
        print("\n".join(names))
        return 0
    if not args.no_unshare and os.getuid() == 0:
        tool.enter_private_namespaces([os.path.abspath(sys.argv[0])] + sys.argv[1:])
    return tool.run_all([(name, run_app(name)) for name in names], args)


if __name__ == "__main__":
    sys.exit(main())
