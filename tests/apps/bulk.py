# SPDX-License-Identifier: MIT
"""bulk.py PORT - stream to and from every client at full speed, in a thread each direction.

To the client: blocks of 1 MiB; after every eighth a line with the bytes received from it
so far in whole MiB, the hash of all blocks sent, and the hash of what was received.
"""
import hashlib
import random
import socket
import sys
import threading

MIB = 1 << 20


class Stream:
    def __init__(self, sock):
        self.sock = sock
        self.file = sock.makefile("rb")
        self.lock = threading.Lock()
        self.received = hashlib.sha256()
        self.blocks = 0

    def receive(self):
        while data := self.file.read(MIB):
            with self.lock:
                self.received.update(data)
                self.blocks += 1

    def send(self):
        noise = random.Random(int(self.file.readline()) + 100).randbytes(MIB)
        threading.Thread(target=self.receive, daemon=True).start()
        sent = hashlib.sha256()
        number = 0
        while True:
            block = noise[number % 997:] + noise[:number % 997]
            self.sock.sendall(block)
            sent.update(block)
            number += 1
            if number % 8 == 0:
                with self.lock:
                    line = f"{self.blocks} {sent.hexdigest()} {self.received.hexdigest()}\n"
                self.sock.sendall(line.encode())


def main():
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
    while True:
        threading.Thread(target=Stream(listener.accept()[0]).send, daemon=True).start()


main()
