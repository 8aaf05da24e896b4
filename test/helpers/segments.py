"""Sends over lo what the stack cuts into segments late, inside the network namespace that it is started in; says as JSON
what was sent. Arguments: tcp BYTES | udp SENDS BYTES SEGMENT."""

import json
import socket
import sys

UDP_SEGMENT = 103


def tcp(total):
    """One connection, closed from both ends, with everything acknowledged and read."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname()) as client:
            served, _ = server.accept()
            with served:
                served.setblocking(False)
                sent = read = 0
                client.setblocking(False)
                data = bytes(1 << 16)
                while read < total:
                    try:
                        sent += client.send(data[: min(len(data), total - sent)]) if sent < total else 0
                    except BlockingIOError:
                        pass
                    try:
                        read += len(served.recv(1 << 20))
                    except BlockingIOError:
                        pass
                return {"bytes": read, "ports": [client.getsockname()[1], server.getsockname()[1]]}


def udp(sends, size, segment):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            receiver.bind(("127.0.0.1", 0))
            receiver.settimeout(30)
            sender.setsockopt(socket.SOL_UDP, UDP_SEGMENT, segment)
            datagrams = total = 0
            for _ in range(sends):
                sender.sendto(bytes(size), receiver.getsockname())
                got = 0
                while got < size:
                    got += len(receiver.recv(65536))
                    datagrams += 1
                total += got
            return {"bytes": total, "datagrams": datagrams}


if __name__ == "__main__":
    mode, *numbers = sys.argv[1:]
    json.dump({"tcp": tcp, "udp": udp}[mode](*map(int, numbers)), sys.stdout)
