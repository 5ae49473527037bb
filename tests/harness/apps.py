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
import os
import pty
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

    def start(self):
        return tool.start(self.argv(), self.dir, self.plan.uid)

    def progress(self):
        return len(lines_of(self.out))

    def poke(self):
        """Called before each look at the progress, for programs that wait for input."""

    def finish(self, pid):
        """The last thaw was good; verify everything."""

    def run(self):
        if self.criu_fails and self.plan.uses_criu:
            raise tool.Skip(self.criu_fails)
        pid = self.start()
        self.wait_progress(pid, 0, "does not start")
        for number in range(self.plan.cycles):
            time.sleep(0.2)
            self.cycle(pid, number)
            self.wait_progress(pid, self.progress(), f"stands still after thaw {number + 1}")
        time.sleep(0.2)
        self.finish(pid)
        tool.kill_tree(pid)

    def cycle(self, pid, number):
        self.plan.cycle(pid, self.dir, number, self.options)

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


class ShellJob(App):
    """The job of an interactive shell: it is thawed by a command typed into that shell."""

    options = ["--shell-job"]
    terminal = None

    def start(self):
        self.need("setpriv", "stty")
        pid, self.terminal = pty.fork()
        if pid == 0:
            os.chdir(self.dir)
            os.closerange(3, 1024)
            os.execve("/bin/bash", ["bash", "--norc", "--noprofile", "-i"], tool.clean_env())
        rights = f"--reuid {self.plan.uid} --regid {self.plan.uid} --clear-groups"
        self.type(f"setpriv {rights if self.plan.uid else ''} bash -c 'echo $$ >job; read word;"
                  "for ((i = 1; ; i++)); do echo $i; stty -a >last || echo bad; sleep 0.01;"
                  "done >out' 2>stderr")
        job = os.path.join(self.dir, "job")
        if not tool.wait_for(lambda: lines_of(job), 10):
            raise tool.Failure("the job does not start")
        self.type("go")
        return int(lines_of(job)[0])

    def type(self, line):
        os.write(self.terminal, line.encode() + b"\n")

    def cycle(self, pid, number):
        images = os.path.join(self.dir, f"images-{number}")
        os.mkdir(images)
        self.plan.dumper.dump(pid, images, self.options)
        if self.plan.crit:
            tool.decode_all(self.plan.crit, images)
        self.type(f"{self.plan.restorer.path} restore -D {images} -o restore.log -v4 --shell-job "
                  f">{images}/restore.out 2>&1")
        if not tool.wait_for(lambda: tool.alive(pid), 20):
            raise tool.Failure("restore: " + tool.first_error(images, "restore", "unknown"))

    def finish(self, pid):
        check_sequence(self.out, str)
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
            group, _, _, foreground = map(int, stat.read().rsplit(")", 1)[1].split()[2:6])
        if (group, foreground) != (pid, pid):
            raise tool.Failure(f"its group is {group}, that in front {foreground}, not {pid}")
        # The terminal's signal must reach it. A shell goes on when its child ends as if there was none.
        for _ in range(20):
            os.write(self.terminal, b"\x03")
            if tool.wait_for(lambda: not tool.alive(pid), 0.5):
                return
        raise tool.Failure("it did not get SIGINT from its terminal")


class Shells(App):
    """Shells below shells, all busy or asleep; each writes its own numbers."""

    count = 6
    program = r"""
        work() { n=1; while :; do
            [ $(expr $n % 10) = 0 ] && sleep 0.05
            echo $n $(( n * n )) >>out.$1; n=$((n + 1)); done; }
        (sleep 1000 & (sleep 1000; sleep 1000) & wait) &
        for i in 1 2 3; do (work $i) & (trap 'echo never >>out.1' EXIT; sh -c "$WORK" sh $((i + 3))) & done
        wait
        """

    def argv(self):
        self.need("dash", "expr")
        work = self.program[:self.program.index("(sleep")] + "work $1"
        return ["env", "WORK=" + work, "dash", "-c", self.program]

    def outs(self):
        return [os.path.join(self.dir, f"out.{i + 1}") for i in range(self.count)]

    def progress(self):
        return min(len(lines_of(out)) for out in self.outs())

    def finish(self, pid):
        for out in self.outs():
            check_sequence(out, lambda n: f"{n} {n * n}")


class Sums(App):
    """Bytes through dd, tee, xz with threads; the sums at both ends must agree."""

    blocks = 1500

    def argv(self):
        self.need("bash", "dd", "xz", "sha256sum")
        with open(os.path.join(self.dir, "in"), "wb") as data:
            data.write(os.urandom(self.blocks * 1000))
        return ["bash", "-c", "for ((i = 0; i < %d; i++)); do "
                "dd if=in bs=1000 count=1 skip=$i status=none; done | tee >(sha256sum >first) |"
                "dd bs=777 status=none | xz -0 -T2 --block-size=65536 --flush-timeout=10 | xz -dc |"
                "dd bs=333 status=none | tee out | sha256sum >last; sleep 1000" % self.blocks]

    def progress(self):
        return os.path.getsize(self.out) if os.path.exists(self.out) else 0

    def finish(self, pid):
        ends = [os.path.join(self.dir, name) for name in ("first", "last")]
        tool.wait_for(lambda: all(lines_of(end) for end in ends), 60, 0.1)
        want = [tool.digest(os.path.join(self.dir, "in")) + "  -"]
        for end in ends:
            if lines_of(end) != want:
                raise tool.Failure(f"the {os.path.basename(end)} sum is {lines_of(end)}")


class PerlFork(App):
    """A child a round, reaped by a handler of SIGCHLD; its exit status is the answer."""

    program = r"""
        use IO::Handle; use POSIX ":sys_wait_h";
        open(my $out, ">", "out"); $out->autoflush(1);
        my %status; $SIG{CHLD} = sub {
            while ((my $pid = waitpid(-1, WNOHANG)) > 0) { $status{$pid} = $? >> 8 } };
        for (my $n = 1; ; $n++) { my $pid = fork;
            if (!$pid) { select(undef, undef, undef, 0.01); POSIX::_exit($n % 251) }
            select(undef, undef, undef, 0.002) until exists $status{$pid};
            print $out "$n $status{$pid}\n"; delete $status{$pid} }
        """

    def argv(self):
        self.need("perl")
        return ["perl", "-e", self.program]

    def finish(self, pid):
        check_sequence(self.out, lambda n: f"{n} {n % 251}")


class Make(App):
    """make -j with its pipe of tokens; every target is made once."""

    targets = 400

    def argv(self):
        self.need("make")
        with open(os.path.join(self.dir, "Makefile"), "w", encoding="ascii") as text:
            text.write(f"all: $(shell seq -f t%.0f {self.targets}); @echo all >>out; sleep 1000\n"
                       "t%:; @sleep 0.02; echo $@ >>out\n")
        return ["make", "-s", "-j4"]

    def finish(self, pid):
        if not tool.wait_for(lambda: "all" in lines_of(self.out), 60, 0.1):
            raise tool.Failure("make did not end")
        want = sorted(f"t{n}" for n in range(1, self.targets + 1)) + ["all"]
        if sorted(lines_of(self.out)[:-1]) + lines_of(self.out)[-1:] != want:
            raise tool.Failure("a target was made twice or not at all")


class Pool(App):
    """Python's multiprocessing: semaphores in deleted files of /dev/shm."""

    def argv(self):
        return [PYTHON, os.path.join(APPS, "pool.py"), self.out]

    def finish(self, pid):
        check_sequence(self.out, lambda n: f"{n} {n * n}")


class Manager(App):
    """A manager behind a unix socket, descriptors in flight between its clients."""

    def argv(self):
        return [PYTHON, os.path.join(APPS, "manager.py"), self.out]

    def finish(self, pid):
        check_sequence(self.out, lambda n: f"{n} {n * n}")


class Tmux(App):
    """A tmux server with shells; new clients find it by its socket, and see what was typed."""

    shells = 3

    def tmux(self, *words):
        done = subprocess.run(
            ["tmux", "-S", os.path.join(self.dir, "socket"), "-f", "/dev/null", *words],
            cwd=self.dir, user=self.plan.uid, group=self.plan.uid, check=False,
            extra_groups=None if self.plan.uid is None else [], env=tool.clean_env(),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            raise tool.Failure(f"tmux {words[0]}: {done.stdout.strip()}")
        return done.stdout

    def start(self):
        self.need("tmux", "bash")
        loop = "for ((i = 1; ; i++)); do echo $i >>out.%d; sleep 0.01; done"
        shell = "exec bash --norc --noprofile -i"
        self.tmux("new-session", "-d", "-s", "s", "-x", "80", "-y", "24", shell)
        for number in range(1, self.shells):
            self.tmux("split-window", "-t", "s", shell)
        for number in range(self.shells):
            self.tmux("send-keys", "-t", f"s:0.{number}", loop % number, "Enter")
        return int(self.tmux("display-message", "-p", "#{pid}"))

    def outs(self):
        return [os.path.join(self.dir, f"out.{number}") for number in range(self.shells)]

    def progress(self):
        return min(len(lines_of(out)) for out in self.outs())

    def finish(self, pid):
        for out in self.outs():
            check_sequence(out, str)
        answer = os.path.join(self.dir, "answer")
        for _ in range(5):	# a loop of bash overhears one ^C in four, dumped or not
            self.tmux("send-keys", "-t", "s:0.0", "C-c", "")
            self.tmux("send-keys", "-t", "s:0.0", "echo $((6 * 7)) >answer", "Enter")
            if tool.wait_for(lambda: lines_of(answer) == ["42"], 4):
                break
        else:
            raise tool.Failure("a shell does not hear what a new client types")
        if "6 * 7" not in self.tmux("capture-pane", "-p", "-t", "s:0.0"):
            raise tool.Failure("a new client does not see what was typed")


class SqliteWal(App):
    """Two tasks write one database, whose index of the log is shared memory with locks."""

    options = ["--file-locks"]

    def argv(self):
        return [PYTHON, os.path.join(APPS, "wal.py"), os.path.join(self.dir, "db"), self.out]

    def finish(self, pid):
        check_sequence(self.out, str)
        text = subprocess.run(["sqlite3", os.path.join(self.dir, "db"), "pragma integrity_check;"],
                              check=False, stdout=subprocess.PIPE, text=True).stdout.strip()
        if text != "ok":
            raise tool.Failure(text)


class Vim(App):
    """An editor of the whole screen, typed into."""

    def argv(self):
        self.need("vim")
        return [PYTHON, os.path.join(APPS, "typist.py"), self.out]

    def finish(self, pid):
        tool.wait_for(lambda: lines_of(self.out), 10)	# each save empties the file first
        check_sequence(self.out, str)


class Top(App):
    """Files of /proc held open and read again and again."""

    def argv(self):
        self.need("top")
        return ["bash", "-c", "exec top -b -d 0.05 >out"]

    def progress(self):
        return sum(line.startswith("top - ") for line in lines_of(self.out))

    def finish(self, pid):
        if lines_of(os.path.join(self.dir, "stderr")):
            raise tool.Failure(lines_of(os.path.join(self.dir, "stderr"))[0])


class Node(App):
    """Threads that wait in epoll, woken through eventfds."""

    def argv(self):
        self.need("node")
        return ["node", "-e", "let n = 0; setInterval(() => require('fs').appendFileSync("
                "'out', ++n + '\\n'), 10)"]

    def finish(self, pid):
        check_sequence(self.out, str)


class Listener(App):
    def argv(self):
        self.need("perl")
        return ["perl", "-MIO::Socket::INET", "-e", "my $s = IO::Socket::INET->new(Listen => 1, "
                "LocalAddr => '127.0.0.1') or die; open(my $o, '>', 'out'); $o->autoflush(1); "
                "for ($n = 1; ; $n++) { print $o \"$n\\n\"; select(undef, undef, undef, 0.01) }"]

    def finish(self, pid):
        check_sequence(self.out, str)


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
    "shell_job": ShellJob,
    "shells": Shells,
    "sums": Sums,
    "perl_fork": PerlFork,
    "make": Make,
    "pool": Pool,
    "manager": Manager,
    "tmux": Tmux,
    "sqlite_wal": SqliteWal,
    "vim": Vim,
    "top": Top,
    "node": Node,
    "listener": Listener,
    "tree": Tree,
    "busy": Busy,
}


def run_app(name):
    return lambda plan, directory: APP_TABLE[name](directory, plan).run()


if __name__ == "__main__":
    sys.exit(tool.main(__doc__, {name: run_app(name) for name in APP_TABLE}))
