// The stock Socket.IO server with Greenroom's events on top: what the kit is tested against, and what a node is compared
// with. Usage: stock-server.mjs [--ping-interval-ms N] [--ping-timeout-ms N] [--lose-every N] [--no-recovery]
//   --lose-every N   every Nth event of a room is sent to nobody: a server that the kit has to catch

import { createServer } from "node:http";
import { parseArgs } from "node:util";
import { Server } from "socket.io";

const { values } = parseArgs({
  options: {
    "ping-interval-ms": { type: "string", default: "25000" },
    "ping-timeout-ms": { type: "string", default: "20000" },
    "lose-every": { type: "string", default: "0" },
    "no-recovery": { type: "boolean", default: false },
  },
});
const loseEvery = Number(values["lose-every"]);

const http = createServer();
const io = new Server(http, {
  serveClient: false,
  cors: { origin: /^http:\/\/127\.0\.0\.1:/ },
  pingInterval: Number(values["ping-interval-ms"]),
  pingTimeout: Number(values["ping-timeout-ms"]),
  ...(values["no-recovery"] ? {} : { connectionStateRecovery: {} }),
});
// A front end may be told why it is refused.
io.use((socket, next) => {
  const refused = socket.handshake.auth.token === "wrong";
  next(refused ? Object.assign(new Error("unauthorized"), { data: { code: "token_invalid" } }) : undefined);
});

const offsets = new Map();
let published = 0;

function fromWire(value) {
  if (Array.isArray(value)) return value.map(fromWire);
  if (value === null || typeof value !== "object") return value;
  if (typeof value.$binary === "string") return Buffer.from(value.$binary, "base64");
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, fromWire(item)]));
}

function publish(room, { event, data, args }) {
  published += 1;
  const offset = (offsets.get(room) ?? 0) + 1;
  offsets.set(room, offset);
  if (loseEvery === 0 || offset % loseEvery !== 0) io.to(room).emit(event, ...(args ?? [data]));
  return { id: String(published).padStart(26, "0"), rooms: { [room]: offset } };
}

const refusal = (code) => ({ ok: false, error: { code, message: `refused: ${code}` } });
const isRoom = (room) => typeof room === "string" && /^[A-Za-z0-9_.:/@-]{1,200}$/.test(room);

// What an event does and is answered, if its sender wants to know.
function whenRoom(room, answer, act) {
  const said = isRoom(room) ? { ok: true, room, ...act() } : refusal("room_name_invalid");
  answer?.(said);
}

io.on("connection", (socket) => {
  const join = (room, answer) => whenRoom(room, answer, () => void socket.join(room));
  const leave = (room, answer) => whenRoom(room, answer, () => void socket.leave(room));
  socket.on("join", join);
  socket.on("leave", leave);
  for (const kind of ["agent", "project", "task"]) {
    for (const mark of ["-", ":"]) {
      socket.on(`subscribe${mark}${kind}`, (id, answer) => join(`${kind}:${id}`, answer));
      socket.on(`unsubscribe${mark}${kind}`, (id, answer) => leave(`${kind}:${id}`, answer));
    }
  }
  socket.on("publish", (ask, answer) => whenRoom(ask?.room, answer, () => publish(ask.room, ask)));
  socket.on("presence", (room, answer) => {
    const members = [...(io.of("/").adapter.rooms.get(room) ?? [])].map((id) => ({ id }));
    whenRoom(room, answer, () => ({ members, count: members.length }));
  });
});

// POST /v1/rooms/{room}/events, as on a node.
http.on("request", async (request, response) => {
  const room = /^\/v1\/rooms\/([^/]+)\/events$/.exec(request.url)?.[1];
  if (room === undefined) return;
  let body = "";
  for await (const chunk of request) body += chunk;
  response.writeHead(202, { "content-type": "application/json" });
  response.end(JSON.stringify(publish(decodeURIComponent(room), fromWire(JSON.parse(body)))));
});

process.on("SIGTERM", () => io.close(() => process.exit(0)));
http.listen(0, "127.0.0.1", () => console.log(`listens on http://127.0.0.1:${http.address().port}`));
