"""Sends packets inside the network namespace that it is started in; send.ts starts it. A job as JSON comes in on
standard input, a report as JSON goes out on standard output.

Nothing may be lost on the way, or counts would prove nothing. A veth with XDP holds 256 frames, the backlog behind lo
1000: frames go out in chunks, and the next chunk waits until the receiver's packet counter has passed the last one and
every CPU's backlog has been seen empty. The counter is `packets` alone: `drop` also counts frames that arrived and
that no protocol wanted.
"""

import errno
import json
import os
import select
import socket
import sys
import time

ETHERTYPE_NONE = 0  # a packet socket for protocol 0 sends, and receives nothing that would have to be drained
ECHO = {socket.AF_INET: (socket.IPPROTO_ICMP, 8, 0), socket.AF_INET6: (58, 128, 129)}
ECHO_ID = 0x4E45


class Deadline:
    def __init__(self, seconds):
        self.end = time.monotonic() + seconds

    def check(self, doing):
        if time.monotonic() > self.end:
            raise TimeoutError(doing)


def counters(interface):
    """(packets received, receive drops, packets sent, send drops) of an interface of this namespace."""
    with open("/proc/self/net/dev", encoding="ascii") as lines:
        for line in lines:
            name, colon, rest = line.partition(":")
            if colon and name.strip() == interface:
                field = [int(word) for word in rest.split()]
                return field[0 + 1], field[3], field[8 + 1], field[11]
    raise LookupError(f"no interface {interface} in this namespace")


def backlogs():
    """Frames waiting in each CPU's backlog (twelfth column, since Linux 5.10), and the drops of all backlogs."""
    waiting, dropped = [], 0
    with open("/proc/net/softnet_stat", encoding="ascii") as lines:
        for line in lines:
            field = [int(word, 16) for word in line.split()]
            waiting.append(field[11] if len(field) > 11 else 0)
            dropped += field[1]
    return waiting, dropped


def drain(deadline):
    """Returns once each CPU's backlog has been seen empty: what was in it before has been taken out."""
    full = None
    while full is None or full:
        waiting, _ = backlogs()
        full = [cpu for cpu in (range(len(waiting)) if full is None else full) if waiting[cpu]]
        deadline.check(f"packets still wait in the backlog of CPUs {full}")


def send_frames(job, deadline):
    interface, receiver, chunk = job["interface"], job["receiver"], job["chunk"]
    before_rx, before_tx = counters(receiver), counters(interface)
    backlog_dropped = backlogs()[1]
    sent = length = in_chunk = 0

    def settle():
        while True:
            arrived = counters(receiver)[0] - before_rx[0]
            if arrived >= sent:
                break
            deadline.check(
                f"{interface} sent {sent} frames, {receiver} received {arrived}, "
                f"{counters(interface)[3] - before_tx[3]} were dropped on sending"
            )
        drain(deadline)

    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, ETHERTYPE_NONE) as out:
        out.bind((interface, ETHERTYPE_NONE))
        for batch in job["frames"]:
            frame = bytes.fromhex(batch["frame"])
            for _ in range(batch["count"]):
                while True:
                    try:
                        out.send(frame)
                        break
                    except OSError as error:
                        # The socket's own buffer is full: wait for the frames in it to be consumed.
                        if error.errno not in (errno.ENOBUFS, errno.EAGAIN):
                            raise
                        deadline.check(f"no buffer for frame {sent + 1}")
                        time.sleep(0.0005)
                sent += 1
                length += len(frame)
                in_chunk += 1
                if in_chunk == chunk:
                    settle()
                    in_chunk = 0
        settle()
    after_rx, after_tx = counters(receiver), counters(interface)
    return {
        "sent": sent,
        "bytes": length,
        "received": after_rx[0] - before_rx[0],
        "rxDropped": after_rx[1] - before_rx[1],
        "txDropped": after_tx[3] - before_tx[3],
        "backlogDropped": backlogs()[1] - backlog_dropped,
    }


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def wait_readable(sock, deadline, doing):
    while not select.select([sock], [], [], 0.2)[0]:
        deadline.check(doing)


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def echo(job, deadline):
    """Echo requests, each answered by the stack before the next: 2 × count packets on lo."""
    family = family_of(job["address"])
    protocol, request, reply = ECHO[family]
    with socket.socket(family, socket.SOCK_RAW, protocol) as raw:
        for sequence in range(job["count"]):
            tail = ECHO_ID.to_bytes(2, "big") + (sequence & 0xFFFF).to_bytes(2, "big") + bytes(job["size"])
            message = bytes([request, 0, 0, 0]) + tail
            # The kernel fills in the checksum of ICMPv6, not that of ICMP.
            if family == socket.AF_INET:
                message = message[:2] + checksum(message).to_bytes(2, "big") + tail
            raw.sendto(message, (job["address"], 0))
            while True:
                wait_readable(raw, deadline, f"no reply to echo request {sequence + 1}")
                data = raw.recv(65536)
                if family == socket.AF_INET:
                    data = data[(data[0] & 0xF) * 4 :]
                if data[0] == reply and data[4:8] == tail[:4]:
                    break
    drain(deadline)
    network = 20 if family == socket.AF_INET else 40
    return {"packets": 2 * job["count"], "bytes": 2 * job["count"] * (14 + network + 8 + job["size"])}


def datagrams(job, deadline):
    """UDP datagrams to a bound receiver, each received before the next is sent: count packets on lo."""
    family = family_of(job["address"])
    kind = socket.SOCK_DGRAM
    with socket.socket(family, kind) as receiver, socket.socket(family, kind) as sender:
        receiver.bind((job["address"], 0))
        payload = bytes(job["size"])
        for number in range(job["count"]):
            sender.sendto(payload, receiver.getsockname())
            wait_readable(receiver, deadline, f"datagram {number + 1} did not arrive")
            receiver.recv(65536)
    drain(deadline)
    network = 20 if family == socket.AF_INET else 40
    return {"packets": job["count"], "bytes": job["count"] * (14 + network + 8 + job["size"])}


def refused(job, deadline):
    """TCP connections to a closed port: a SYN and the stack's RST each, 2 × count packets on lo."""
    family = family_of(job["address"])
    with socket.socket(family, socket.SOCK_STREAM) as held:
        held.bind((job["address"], 0))  # bound, not listening: the port is closed and stays ours
        for _ in range(job["count"]):
            with socket.socket(family, socket.SOCK_STREAM) as client:
                outcome = client.connect_ex(held.getsockname())
                if outcome != errno.ECONNREFUSED:
                    raise OSError(outcome, f"expected a refused connection: {os.strerror(outcome)}")
    drain(deadline)
    return {"packets": 2 * job["count"]}


MODES = {"frames": send_frames, "echo": echo, "datagrams": datagrams, "refused": refused}


def main():
    job = json.load(sys.stdin)
    if job.get("cpu") is not None:
        os.sched_setaffinity(0, {job["cpu"]})
    json.dump(MODES[job["mode"]](job, Deadline(job["seconds"])), sys.stdout)


if __name__ == "__main__":
    try:
        main()
    except (OSError, LookupError, ValueError) as error:
        sys.exit(f"send_frames.py: {type(error).__name__}: {error}")
