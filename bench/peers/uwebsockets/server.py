"""uWebSockets as a peer of the bench: rooms are its topics, so that the fan-out runs in its C++ alone.

Python reads what clients ask, once a join or publish. Usage: server.py PORT
"""

import json
import os
import socket
import sys

from socketify import App, OpCode

# What a member may leave unread, as at the floor. uWebSockets skips messages of one who is further behind, and the
# bench counts them as lost.
UNREAD_BYTES_MAX = 1 << 20


def event_frame(room, offset, position, ask):
    """An event as the floor sends it, byte for byte, so that both move the same amount."""
    data = json.dumps(ask["data"], separators=(",", ":"), ensure_ascii=False)
    return (
        f'{{"type":"event","id":"{position:026}","room":"{room}","event":"{ask["event"]}","data":{data},'
        f'"offset":{offset},"ts":"2026-01-01T00:00:00.000Z","position":"{position}"}}'
    )


class Rooms:
    """Counts events; who is in a room only uWebSockets knows."""

    def __init__(self, app):
        self.app = app
        self.offsets = {}
        self.position = 0

    def hear(self, ws, text, _opcode):
        """Answers one request."""
        ask = json.loads(text)
        reference = json.dumps(ask.get("ref"))
        if ask["type"] == "join":
            answer = self.join(ws, ask, reference)
        elif ask["type"] == "publish":
            answer = self.publish(ask, reference)
        else:
            answer = '{"type":"error","code":"frame_invalid","message":"not understood"}'
        ws.send(answer, OpCode.TEXT)

    def join(self, ws, ask, reference):
        room = ask["room"]
        ws.subscribe(room)
        recovered = "false" if "since" in ask else "true"
        return (
            f'{{"type":"joined","ref":{reference},"room":"{room}","position":"{self.position}",'
            f'"recovered":{recovered}}}'
        )

    def publish(self, ask, reference):
        room = ask["room"]
        self.position += 1
        offset = self.offsets[room] = self.offsets.get(room, 0) + 1
        self.app.publish(room, event_frame(room, offset, self.position, ask), OpCode.TEXT)
        return (
            f'{{"type":"published","ref":{reference},"id":"{self.position:026}",'
            f'"rooms":{{"{room}":{offset}}}}}'
        )


def upgrade(response, request, context):
    """Agrees to the sub-protocol, and to no compression."""
    key = request.get_header("sec-websocket-key")
    response.upgrade(key, "greenroom.v1", None, context)


def without_pacing():
    """Connections inherit the congestion control of their listener; bbr would pace even loopback, see socket.rs."""
    for name in os.listdir("/proc/self/fd"):
        try:
            found = socket.socket(fileno=os.dup(int(name)))
        except OSError:
            continue
        with found:
            if found.family != socket.AF_UNIX and found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                if found.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).startswith(b"bbr"):
                    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")


def main():
    app = App()
    rooms = Rooms(app)
    behaviour = {
        "max_payload_length": 1 << 20,
        "max_backpressure": UNREAD_BYTES_MAX,
        # A client of the bench that has nothing to say is no dead one.
        "idle_timeout": 0,
        "upgrade": upgrade,
        "message": rooms.hear,
    }
    app.ws("/v1/ws", behaviour)
    app.listen({"host": "127.0.0.1", "port": int(sys.argv[1])}, lambda _config: without_pacing())
    # Not app.run(): that polls without end from Python's own loop, and its idling would be measured.
    app.loop.uv_loop.run()


if __name__ == "__main__":
    main()
