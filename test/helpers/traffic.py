"""Traffic of ordinary sockets between two network namespaces, which may be one; traffic.ts starts it. A job as JSON comes in
on standard input; one line on standard output says that it is done.

Every datagram and every connection is over before the next begins.
"""

import ctypes
import json
import os
import select
import socket
import sys
import time

CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)


def enter(path):
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if LIBC.setns(fd, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns {path}")
    finally:
        os.close(fd)


def make(path, address, kind):
    """A socket of a namespace: it stays there when the thread moves on."""
    enter(path)
    return socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)


def receive(sock, length):
    got = 0
    while got < length:
        if not select.select([sock], [], [], 20)[0]:
            raise TimeoutError(f"received {got} of {length} bytes")
        data = sock.recv(65536)
        if not data:
            break
        got += len(data)
    return got


def datagrams(job):
    with make(job["server"], job["address"], socket.SOCK_DGRAM) as server:
        server.bind((job["address"], 0))
        with make(job["client"], job["address"], socket.SOCK_DGRAM) as client:
            for _ in range(job["count"]):
                client.sendto(bytes(job["size"]), server.getsockname())
                receive(server, job["size"])


def unheard(job):
    """Datagrams to a port that is closed: each comes back as an ICMP error before the next is sent."""
    with make(job["server"], job["address"], socket.SOCK_STREAM) as held:
        held.bind((job["address"], 0))  # a TCP port: no UDP socket is there
        with make(job["client"], job["address"], socket.SOCK_DGRAM) as client:
            client.connect(held.getsockname())
            for _ in range(job["count"]):
                client.send(bytes(job["size"]))
                end = time.monotonic() + 20
                while client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                    if time.monotonic() > end:
                        raise TimeoutError("no ICMP error came back")


def connections(job):
    """The client sends, closes first, and the server answers the end with its own."""
    with make(job["server"], job["address"], socket.SOCK_STREAM) as server:
        server.bind((job["address"], 0))
        server.listen()
        for _ in range(job["count"]):
            with make(job["client"], job["address"], socket.SOCK_STREAM) as client:
                client.settimeout(20)
                client.connect(server.getsockname())
                accepted, _ = server.accept()
                with accepted:
                    sent = 0
                    while sent < job["size"]:
                        piece = min(65536, job["size"] - sent)
                        client.sendall(bytes(piece))
                        sent += receive(accepted, piece)
                    client.shutdown(socket.SHUT_WR)
                    while accepted.recv(65536):
                        pass
                while client.recv(65536):
                    pass


MODES = {"datagrams": datagrams, "unheard": unheard, "connections": connections}


def main():
    job = json.load(sys.stdin)
    MODES[job["mode"]](job)
    print("done")


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"traffic.py: {type(error).__name__}: {error}")
