// Stock Socket.IO clients, driven by a test: a command a line on standard input, a report a line on standard output, as
// clients.mjs says. One command more: `cut` {reset?} destroys the TCP connections under a client.

import { AsyncLocalStorage } from "node:async_hooks";
import { subscribe } from "node:diagnostics_channel";
import { createInterface } from "node:readline";
import { io as newest } from "socket.io-client";
import { io as oldest } from "socket.io-client-4.6";
import { driver } from "./clients.mjs";

// Whose doing a TCP connection is: the clients keep theirs to themselves, and polling makes one a request.
const whose = new AsyncLocalStorage();
const sockets = new Map();

subscribe("net.client.socket", ({ socket }) => {
  const own = sockets.get(whose.getStore());
  own?.add(socket);
  socket.once("close", () => own?.delete(socket));
});

function cut({ name, reset }) {
  for (const socket of sockets.get(name)) {
    if (reset) socket.resetAndDestroy();
    else socket.destroy();
  }
}

const drive = driver({ 4.8: newest, 4.6: oldest }, (report) => process.stdout.write(`${JSON.stringify(report)}\n`));

createInterface({ input: process.stdin }).on("line", (line) => {
  const command = JSON.parse(line);
  if (command.op === "connect") sockets.set(command.name, new Set());
  whose.run(command.name, command.op === "cut" ? cut : drive, command);
});
// The test is over, or has died.
process.stdin.on("end", () => process.exit(0));
