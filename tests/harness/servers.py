#!/usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""servers.py - freeze and thaw servers whose clients stay connected.

Alone:   sudo /usr/bin/python3 tests/harness/servers.py [options] [server...]
         the options are those of cr.py

The server's tree is dumped and restored under load. The clients live here, outside of
the tree: they must notice nothing but a pause. Every answer is checked. The last
line is "N passed, N failed, N skipped".
"""
import contextlib
import hashlib
import os
import random
import socket
import subprocess
import sys
import threading

import apps
import tool

MIB = 1 << 20
ANSWER_S = 60


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Connection:
    """A TCP connection that stays, with buffered reading."""

    def __init__(self, port):
        self.sock = socket.create_connection(("127.0.0.1", port), ANSWER_S)
        self.file = self.sock.makefile("rb")

    def ask(self, data):
        self.sock.sendall(data)
        return self.line()

    def line(self):
        line = self.file.readline()
        if not line.endswith(b"\n"):
            raise tool.Failure("the server hung up")
        return line.rstrip(b"\r\n")

    def bytes(self, count):
        data = self.file.read(count)
        if len(data) != count:
            raise tool.Failure(f"{len(data)} bytes of {count} came")
        return data


class Client(threading.Thread):
    """Repeats an exchange until told to stop."""

    def __init__(self, exchange):
        super().__init__(daemon=True)
        self.exchange = exchange
        self.done = 0
        self.error = None
        self.stopping = False

    def run(self):
        try:
            while not self.stopping:
                self.exchange(self.done)
                self.done += 1
        except Exception as error:      # shown by the test, whatever it is
            self.error = f"exchange {self.done}: {error!r}"


class Server(apps.App):
    """Subclasses start a server and say what one exchange with it is."""

    options = ["--tcp-established", "--file-locks"]
    clients = 3

    def __init__(self, directory, plan):
        super().__init__(directory, plan)
        self.port = free_port()
        self.running = []

    def start(self):
        pid = super().start()
        self.await_port(pid)
        self.prepare()
        self.running = [Client(self.exchange_of(number)) for number in range(self.clients)]
        for client in self.running:
            client.start()
        return pid

    def await_port(self, pid):
        def listening():
            with socket.socket() as s:
                return s.connect_ex(("127.0.0.1", self.port)) == 0 or not tool.alive(pid)

        if not tool.wait_for(listening, 30, 0.05) or not tool.alive(pid):
            raise tool.Failure("does not start: " + " ".join(
                apps.lines_of(os.path.join(self.dir, "stderr"))[-2:]))

    def prepare(self):
        """Fill it; the clients come after."""

    def exchange_of(self, number):
        """A function that makes the n-th exchange of that client."""
        raise NotImplementedError

    def progress(self):
        for client in self.running:
            if client.error:
                raise tool.Failure(client.error)
        return min((client.done for client in self.running), default=1)

    def finish(self, pid):
        for client in self.running:
            client.stopping = True
        for client in self.running:
            client.join(ANSWER_S)
            if client.is_alive():
                raise tool.Failure("a client got no answer")
        self.progress()
        self.verify()

    def verify(self):
        """All clients have stopped."""


class Redis(Server):
    """100 MB, several connections that count."""

    values = 100

    def argv(self):
        self.need("redis-server")
        return ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
                "--appendonly", "no", "--dir", self.dir]

    @staticmethod
    def value(number):
        return random.Random(number).randbytes(MIB)

    def prepare(self):
        c = Connection(self.port)
        for number in range(self.values):
            data = self.value(number)
            if c.ask(b"*3\r\n$3\r\nSET\r\n$4\r\n%04d\r\n$%d\r\n%s\r\n" % (number, len(data), data)) != b"+OK":
                raise tool.Failure("SET fails")

    def exchange_of(self, number):
        c = Connection(self.port)

        def exchange(n):
            answer = c.ask(b"INCR count%d\r\n" % number)
            if answer != b":%d" % (n + 1):
                raise tool.Failure(f"INCR {n + 1} says {answer!r}")
        return exchange

    def verify(self):
        c = Connection(self.port)
        for number in range(self.values):
            if c.ask(b"GET %04d\r\n" % number) != b"$%d" % MIB or c.bytes(MIB) != self.value(number):
                raise tool.Failure(f"value {number} has changed")
            c.line()


class Memcached(Server):
    def argv(self):
        self.need("memcached")
        user = ["-u", "root"] if self.plan.uid is None else []
        return ["memcached", "-l", "127.0.0.1", "-p", str(self.port)] + user

    def exchange_of(self, number):
        c = Connection(self.port)

        def exchange(n):
            data = random.Random(n).randbytes(1000).hex().encode()
            key = b"k%d.%d" % (number, n % 500)
            if c.ask(b"set %s 0 0 %d\r\n%s\r\n" % (key, len(data), data)) != b"STORED":
                raise tool.Failure("not stored")
            head = c.ask(b"get %s\r\n" % key)
            if head != b"VALUE %s 0 %d" % (key, len(data)) or c.line() != data or c.line() != b"END":
                raise tool.Failure(f"get says {head!r}")
        return exchange


class Http(Server):
    """Requests over connections that are kept open; the body is checked."""

    body = random.Random(1).randbytes(300000)

    def exchange_of(self, number):
        c = Connection(self.port)

        def exchange(_):
            status = c.ask(b"GET /data HTTP/1.1\r\nHost: x\r\n\r\n")
            length = 0
            while line := c.line():
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            if b" 200 " not in status + b" " or c.bytes(length) != self.body:
                raise tool.Failure(f"{status!r} with {length} bytes")
        return exchange


class Nginx(Http):
    """A master and two workers."""

    clients = 8

    def argv(self):
        self.need("nginx")
        with open(os.path.join(self.dir, "data"), "wb") as data:
            data.write(self.body)
        os.chmod(self.dir, 0o777)
        # CRIU without CAP_SYS_RESOURCE cannot dump tasks of another uid.
        user = "user root;" if self.plan.uses_criu and self.plan.uid is None else ""
        with open(os.path.join(self.dir, "conf"), "w", encoding="ascii") as conf:
            conf.write(f"""
{user} daemon off; worker_processes 2; pid {self.dir}/pid; error_log stderr;
events {{ worker_connections 64; }}
http {{
	access_log off; keepalive_requests 1000000;
	client_body_temp_path {self.dir}/t1; proxy_temp_path {self.dir}/t2; fastcgi_temp_path {self.dir}/t3;
	uwsgi_temp_path {self.dir}/t4; scgi_temp_path {self.dir}/t5;
	server {{ listen 127.0.0.1:{self.port}; root {self.dir}; }}
}}
""")
        return ["nginx", "-p", self.dir, "-e", "stderr", "-c", os.path.join(self.dir, "conf")]


class NodeHttp(Http):
    def argv(self):
        self.need("node")
        with open(os.path.join(self.dir, "data"), "wb") as data:
            data.write(self.body)
        return ["node", "-e", "const body = require('fs').readFileSync('data');"
                "const s = require('http').createServer((q, r) => r.end(body));"
                f"s.keepAliveTimeout = 0; s.listen({self.port}, '127.0.0.1')"]


class Postgres(Server):
    """Several backends, each in the middle of a transaction."""

    criu_fails = "it has a System V segment of the host's IPC namespace"

    def __init__(self, directory, plan):
        super().__init__(directory, plan)
        self.plan_uid = plan.uid
        self.psql = []

    def start(self):
        self.need("psql", "initdb", "postgres")
        if self.plan.uid is None:
            self.plan.uid = tool.OTHER_UID      # it does not run as root
        try:
            return super().start()
        finally:
            self.plan.uid = self.plan_uid

    def need(self, *programs):
        folders = [f"/usr/lib/postgresql/{v}/bin" for v in os.listdir("/usr/lib/postgresql")] \
            if os.path.isdir("/usr/lib/postgresql") else []
        self.path = ":".join(folders + ["/usr/bin", "/bin", "/usr/sbin"])
        for program in programs:
            if not tool.shutil.which(program, path=self.path):
                raise tool.Skip(f"no {program} here")

    def argv(self):
        data = os.path.join(self.dir, "data")
        env = dict(tool.clean_env(), PATH=self.path)
        with open("/etc/passwd", encoding="utf-8") as users:
            names = {line.split(":")[2] for line in users}
        if str(self.plan.uid) not in names:
            subprocess.run(["useradd", "-M", "-u", str(self.plan.uid), "stasis-test"], check=True)
        subprocess.run(["initdb", "-D", data, "-A", "trust", "-U", "test", "--no-sync"], check=True,
                       user=self.plan.uid, group=self.plan.uid, extra_groups=[], env=env, cwd=self.dir,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return [tool.shutil.which("postgres", path=self.path), "-D", data, "-p", str(self.port), "-k",
                self.dir, "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]

    def await_port(self, pid):
        super().await_port(pid)
        if not tool.wait_for(lambda: self.query("select 1") == "1", 30, 0.1):
            raise tool.Failure("does not answer")

    def command(self):
        return ["psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "test", "-qAtX", "postgres"]

    def query(self, text):
        return subprocess.run(self.command() + ["-c", text], check=False, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True, env=tool.clean_env()).stdout.strip()

    def exchange_of(self, number):
        self.query(f"create table t{number} (n int)")
        p = subprocess.Popen(self.command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                             bufsize=1, stderr=subprocess.STDOUT, env=tool.clean_env())
        self.psql.append(p)
        p.stdin.write("begin;\n")

        def exchange(n):
            p.stdin.write(f"insert into t{number} values ({n}); select sum(n) from t{number};\n")
            answer = p.stdout.readline().strip()
            if answer != str(n * (n + 1) // 2):
                raise tool.Failure(f"the sum up to {n} is {answer!r}")
        return exchange

    def verify(self):
        if any(self.query(f"select count(*) from t{k}") != "0" for k in range(self.clients)):
            raise tool.Failure("a transaction is seen before its end")
        for number, p in enumerate(self.psql):
            p.communicate("commit;\n", ANSWER_S)
            count = self.query(f"select count(*) from t{number}")
            if count != str(self.running[number].done):
                raise tool.Failure(f"table {number} has {count} rows of {self.running[number].done}")


class Bulk(Server):
    """Both directions at full speed; what was sent is what came."""

    clients = 2

    def argv(self):
        return [apps.PYTHON, os.path.join(apps.APPS, "bulk.py"), str(self.port)]

    def exchange_of(self, number):
        c = Connection(self.port)
        sent, came = hashlib.sha256(), hashlib.sha256()
        noise = random.Random(number).randbytes(MIB)
        c.sock.sendall(b"%d\n" % number)
        sender = Client(lambda n: self.send(c, noise, n, sent))
        sender.start()

        def exchange(n):
            if sender.error:
                raise tool.Failure(sender.error)
            came.update(c.bytes(MIB))
            if n % 8 == 7:
                # Eight blocks and the hash of what the server has read so far, with its length.
                said = c.line().split()
                self.said[number] = (int(said[0]), said[1].decode(), said[2].decode())
                if came.hexdigest() != self.said[number][1]:
                    raise tool.Failure("what came is not what was sent")
        self.said = getattr(self, "said", {})
        self.senders = getattr(self, "senders", []) + [sender]
        return exchange

    def progress(self):
        """In rounds of eight blocks, each of which ends with what the server says."""
        return super().progress() // 8

    def send(self, c, noise, n, sent):
        block = noise[n % 1000:] + noise[:n % 1000]
        c.sock.sendall(block)
        sent.update(block)
        self.marks = getattr(self, "marks", {})
        self.marks[sent.copy().hexdigest()] = True

    def verify(self):
        if len(self.said) != self.clients:
            raise tool.Failure(f"of {self.clients} streams {len(self.said)} were ever compared")
        for number, (length, _, theirs) in self.said.items():
            if theirs not in self.marks:
                raise tool.Failure(f"stream {number}: {length} bytes arrived changed")


class Tmux(apps.App):
    """A server with two shells; clients that come and go type and look."""

    options = ["--file-locks"]

    def tmux(self, *words):
        return subprocess.run(["tmux", "-S", os.path.join(self.dir, "sock"), "-f", "/dev/null"] +
                              list(words), check=False, stdout=subprocess.PIPE, user=self.plan.uid,
                              stderr=subprocess.STDOUT, text=True, env=tool.clean_env(), cwd=self.dir,
                              timeout=ANSWER_S).stdout

    def start(self):
        self.need("tmux")
        self.typed = 0
        self.tmux("new-session", "-d", "-x", "100", "-y", "30", "bash --norc --noprofile")
        self.tmux("split-window", "bash --norc --noprofile -c "
                  "'for ((i = 1; ; i++)); do echo $i >>out; echo $i; sleep 0.02; done'")
        pid = self.tmux("display-message", "-p", "#{pid}").strip()
        if not pid.isdigit():
            raise tool.Failure(f"does not start: {pid}")
        return int(pid)

    def poke(self):
        self.typed += 1
        self.tmux("send-keys", "-t", ":0.0", f"echo typed-$(({self.typed} + 0))", "Enter")

    def finish(self, pid):
        apps.check_sequence(self.out, str)
        if not tool.wait_for(lambda: f"typed-{self.typed}\n" in self.tmux("capture-pane", "-p", "-t", ":0.0"),
                             10, 0.1):
            raise tool.Failure("a shell does not answer")
        shown = self.tmux("capture-pane", "-p", "-t", ":0.1").split()
        if not shown or [int(n) for n in shown] != list(range(int(shown[0]), int(shown[-1]) + 1)):
            raise tool.Failure(f"the screen shows {shown}")


class Ssh(Server):
    """A session through sshd, which forks and changes identity on the way."""

    clients = 2

    def start(self):
        self.need("sshd", "ssh", "ssh-keygen")
        if self.plan.uid is not None:
            raise tool.Skip("logs in as root")
        return super().start()

    def argv(self):
        for name in ("host", "key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f",
                            os.path.join(self.dir, name)], check=True)
        os.makedirs("/run/sshd", exist_ok=True)
        with open(os.path.join(self.dir, "conf"), "w", encoding="ascii") as conf:
            conf.write(f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.dir}/host\n"
                       f"AuthorizedKeysFile {self.dir}/key.pub\nStrictModes no\nUsePAM no\n"
                       f"PermitRootLogin yes\nPidFile none\n")
        return ["/usr/sbin/sshd", "-D", "-e", "-f", os.path.join(self.dir, "conf")]

    def exchange_of(self, number):
        p = subprocess.Popen(
            ["ssh", "-F", "none", "-i", os.path.join(self.dir, "key"), "-p", str(self.port), "-o",
             "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
             "root@127.0.0.1", "while read x; do echo $x $((x * x)); done"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env=tool.clean_env())

        def exchange(n):
            p.stdin.write(f"{n}\n")
            answer = p.stdout.readline().strip()
            if answer != f"{n} {n * n}":
                raise tool.Failure(f"{n} gives {answer!r}")
        return exchange


class Relay(threading.Thread):
    """A port that leads to another. Bytes pass slowly until hurry is set; few are ever underway."""

    piece = 16 << 10
    buffer = 64 << 10

    def __init__(self, port, rate):
        super().__init__(daemon=True)
        self.to = port
        self.rate = rate
        self.hurry = threading.Event()
        self.listener = self.limited()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen()
        self.port = self.listener.getsockname()[1]

    def limited(self):
        sock = socket.socket()
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, self.buffer)
        return sock

    def run(self):
        while True:
            near, _ = self.listener.accept()
            far = self.limited()
            far.connect(("127.0.0.1", self.to))
            for ends in ((near, far), (far, near)):
                threading.Thread(target=self.pass_on, args=ends, daemon=True).start()

    def pass_on(self, source, sink):
        with contextlib.suppress(OSError):      # rsync says so when its peer is gone
            while data := source.recv(self.piece):
                sink.sendall(data)
                self.hurry.wait(len(data) / self.rate)
            sink.shutdown(socket.SHUT_WR)


class Rsync(Server):
    """A download and an upload, in the middle at every freeze."""

    clients = 0
    size = 32 * MIB
    rate = 2 * MIB              # bytes a second until the last thaw

    def argv(self):
        self.need("rsync")
        os.mkdir(os.path.join(self.dir, "there"))
        os.chmod(os.path.join(self.dir, "there"), 0o777)
        for name in ("there/down", "up"):
            with open(os.path.join(self.dir, name), "wb") as data:
                data.write(os.urandom(self.size))
        with open(os.path.join(self.dir, "conf"), "w", encoding="ascii") as conf:
            conf.write(f"use chroot = no\nport = {self.port}\naddress = 127.0.0.1\n"
                       f"socket options = SO_SNDBUF={Relay.buffer},SO_RCVBUF={Relay.buffer}\n"
                       f"[m]\npath = {self.dir}/there\nread only = no\n" +
                       ("uid = root\ngid = root\n" if self.plan.uid is None else ""))
        return ["rsync", "--daemon", "--no-detach", "--config", os.path.join(self.dir, "conf")]

    def prepare(self):
        self.relay = Relay(self.port, self.rate)
        self.relay.start()
        url = f"rsync://127.0.0.1:{self.relay.port}/m/"
        self.copies = [subprocess.Popen(
            ["rsync", "--inplace"] + words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            cwd=self.dir) for words in ([url + "down", "down"], ["up", url + "up"])]

    def sizes(self):
        for copy in self.copies:
            if copy.poll():
                raise tool.Failure(copy.stderr.read().decode(errors="replace").strip())
        return [os.path.getsize(p) if os.path.exists(p) else 0 for p in
                (os.path.join(self.dir, "down"), os.path.join(self.dir, "there", "up"))]

    def progress(self):
        return min(self.sizes())

    def cycle(self, pid, number):
        """Both copies must go on after the thaw, by more than can have been underway at the freeze."""
        super().cycle(pid, number)
        thawed = self.sizes()
        if not tool.wait_for(lambda: all(now > then + MIB for now, then in zip(self.sizes(), thawed)),
                             apps.PROGRESS_S, 0.02):
            raise tool.Failure(f"of {self.size} bytes {thawed} were copied at thaw {number + 1}, then "
                               f"{self.sizes()}")

    def finish(self, pid):
        self.relay.hurry.set()
        for copy in self.copies:
            if copy.wait(ANSWER_S):
                raise tool.Failure(copy.stderr.read().decode(errors="replace").strip())
        for name in ("down", "up"):
            if tool.digest(os.path.join(self.dir, name)) != \
                    tool.digest(os.path.join(self.dir, "there", name)):
                raise tool.Failure(f"{name} was changed on the way")


SERVER_TABLE = {
    "redis": Redis,
    "memcached": Memcached,
    "nginx": Nginx,
    "node_http": NodeHttp,
    "postgres": Postgres,
    "bulk": Bulk,
    "tmux": Tmux,
    "ssh": Ssh,
    "rsync": Rsync,
}


def run_server(name):
    return lambda plan, directory: SERVER_TABLE[name](directory, plan).run()


if __name__ == "__main__":
    sys.exit(tool.main(__doc__, {name: run_server(name) for name in SERVER_TABLE}))
