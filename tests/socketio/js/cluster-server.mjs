// A server of a JavaScript cluster, as its users would write it: socket.io with the classic Redis adapter, and beside it
// the emitter for programs that have no sockets. Usage: cluster-server.mjs REDIS_URL
//
// It says in its first line where it listens. Then: a command {ref, op, ...} a line on standard input, and an answer a line
// on standard output: {ref, value} or {ref, error}. What other servers say to it comes as {heard, args}. Binary is
// {"$binary": "<base64>"} in both directions.

import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { createAdapter } from "@socket.io/redis-adapter";
import { Emitter } from "@socket.io/redis-emitter";
import { createClient } from "redis";
import { Server } from "socket.io";

const [url] = process.argv.slice(2);
const publisher = createClient({ url });
const subscriber = publisher.duplicate();
const outsider = publisher.duplicate();
for (const client of [publisher, subscriber, outsider]) {
  client.on("error", (error) => console.error(error.message));
  await client.connect();
}

const http = createServer();
const io = new Server(http, { serveClient: false, adapter: createAdapter(publisher, subscriber) });
const emitter = new Emitter(outsider);

const say = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);

function fromWire(value) {
  if (Array.isArray(value)) return value.map(fromWire);
  if (value === null || typeof value !== "object") return value;
  if (typeof value.$binary === "string") return Buffer.from(value.$binary, "base64");
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, fromWire(item)]));
}

function toWire(value) {
  if (Buffer.isBuffer(value)) return { $binary: value.toString("base64") };
  if (Array.isArray(value)) return value.map(toWire);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, toWire(item)]));
}

io.on("connection", (socket) => {
  socket.on("join", (room, answer) => {
    socket.join(room);
    answer?.({ ok: true, room });
  });
  socket.on("presence", (room, answer) => answer({ ok: true, room }));
});
io.on("hello", (...args) => {
  const answer = typeof args.at(-1) === "function" ? args.pop() : undefined;
  say({ heard: "hello", args });
  answer?.("hello yourself");
});

// For whom a command is: as users chain it.
function target(from, { rooms = [], except = [], volatile, timeoutMs }) {
  let to = from;
  for (const room of rooms) to = to.to(room);
  for (const room of except) to = to.except(room);
  if (volatile) to = to.volatile;
  return timeoutMs === undefined ? to : to.timeout(timeoutMs);
}

const commands = {
  emit: (command) => void target(io, command).emit(command.event, ...fromWire(command.args)),
  ask: (command) =>
    new Promise((resolve) => {
      const done = (error, answers) => resolve({ error: error?.message ?? null, answers });
      target(io, command).emit(command.event, ...fromWire(command.args), done);
    }),
  join: (command) => void target(io, command).socketsJoin(command.names),
  leave: (command) => void target(io, command).socketsLeave(command.names),
  disconnect: (command) => void target(io, command).disconnectSockets(command.close),
  async fetch(command) {
    const sockets = await target(io, command).fetchSockets();
    return sockets.map(({ id, rooms, data, handshake }) => ({ id, rooms: [...rooms], data, handshake }));
  },
  allRooms: async () => [...(await io.of("/").adapter.allRooms())],
  servers: () => io.of("/").adapter.serverCount(),
  serverSideEmit: (command) => void io.serverSideEmit("hello", ...command.args),
  serverSideAsk: (command) => io.serverSideEmitWithAck("hello", ...command.args),
  emitOutside: (command) => void target(emitter, command).emit(command.event, ...fromWire(command.args)),
  joinOutside: (command) => void target(emitter, command).socketsJoin(command.names),
  leaveOutside: (command) => void target(emitter, command).socketsLeave(command.names),
  disconnectOutside: (command) => void target(emitter, command).disconnectSockets(command.close),
  serverSideEmitOutside: (command) => void emitter.serverSideEmit("hello", ...command.args),
};

createInterface({ input: process.stdin }).on("line", async (line) => {
  const { ref, op, ...command } = JSON.parse(line);
  try {
    say({ ref, value: toWire((await commands[op](command)) ?? null) });
  } catch (error) {
    say({ ref, error: error.message });
  }
});
// The test is over, or has died.
process.stdin.on("end", () => process.exit(0));
http.listen(0, "127.0.0.1", () => console.log(`listens on http://127.0.0.1:${http.address().port}`));
