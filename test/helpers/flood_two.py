"""Floods one end of a veth pair from one source while another one sends steadily, and counts what of both arrives at
the stack of the other end: {"attacker": {"sent", "received"}, "friend": {...}} as JSON.

    flood_two.py FROM TO ATTACKER_HEX FRIEND_HEX FLOOD_SECONDS SECONDS
"""

import json
import socket
import sys
import time

ETH_P_ALL = 3
PACKET_OUTGOING = 4
BURST = 20  # a veth with XDP has room for 256
SETTLE = 0.5


def main():
    sender, receiver = sys.argv[1:3]
    frames = {"attacker": bytes.fromhex(sys.argv[3]), "friend": bytes.fromhex(sys.argv[4])}
    flood, whole = float(sys.argv[5]), float(sys.argv[6])
    counts = {name: {"sent": 0, "received": 0} for name in frames}
    names = {frame: name for name, frame in frames.items()}

    out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    out.bind((sender, 0))
    into = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    into.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    into.bind((receiver, ETH_P_ALL))
    into.setblocking(False)

    def take():
        while True:
            try:
                frame, (_, _, kind, _, _) = into.recvfrom(2048)
            except BlockingIOError:
                return
            if kind != PACKET_OUTGOING and frame in names:
                counts[names[frame]]["received"] += 1

    def send(name, times):
        for _ in range(times):
            out.send(frames[name])
        counts[name]["sent"] += times

    start = time.monotonic()
    while time.monotonic() - start < whole:
        if time.monotonic() - start < flood:
            send("attacker", BURST)
        send("friend", 1)
        take()
        time.sleep(0.003)
    end = time.monotonic() + SETTLE
    while time.monotonic() < end:
        take()
        time.sleep(0.01)
    json.dump(counts, sys.stdout)


if __name__ == "__main__":
    main()
