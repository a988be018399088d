// The stock Socket.IO server as a peer of the bench: rooms by its own in-memory adapter, nothing of ours in the way.
//
// Usage: server.js PORT [--fd N] [--recovery]
//   --fd N      listens on this open socket, which the bench has bound to the port and keeps from being paced: Node.js
//               cannot choose a congestion control
//   --recovery  connection state recovery, with the stock server's defaults

"use strict";

const { createServer } = require("node:http");
const { parseArgs } = require("node:util");
const { Server } = require("socket.io");

// As many clients as may connect at once.
const BACKLOG = 4_096;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { fd: { type: "string" }, recovery: { type: "boolean", default: false } },
});

const http = createServer();
const io = new Server(http, {
  serveClient: false,
  ...(values.recovery && { connectionStateRecovery: {} }),
});

const offsets = new Map();
let published = 0;

io.on("connection", (socket) => {
  socket.on("join", (room, answer) => {
    socket.join(room);
    answer({ ok: true, room });
  });
  socket.on("publish", ({ room, event, data }, answer) => {
    published += 1;
    const offset = (offsets.get(room) ?? 0) + 1;
    offsets.set(room, offset);
    io.to(room).emit(event, data);
    answer({ ok: true, id: String(published).padStart(26, "0"), rooms: { [room]: offset } });
  });
});

const where = values.fd === undefined ? { host: "127.0.0.1", port: Number(positionals[0]) } : { fd: Number(values.fd) };
http.listen({ ...where, backlog: BACKLOG });
process.on("SIGTERM", () => process.exit(0));
