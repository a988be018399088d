// Clients by name, and what a test may have them do; the same in Node.js and in a browser.
//
// Commands: {op, name, ...}
//   connect     {url, version: "4.8"|"4.6", options}   a client of this name; options are the stock client's own
//   emit        {event, args, ref?, timeoutMs?}        with a ref, the ack is reported
//   auth        {auth}                                 what the next connect, or reconnect, sends
//   open        {}                                     connects again after a disconnect
//   disconnect  {}
//   status      {ref}
// Reports: {name, on, ...} with on = connect, event, ack, disconnect, connect_error, transport or status. Binary is
// {"$binary": "<base64>"} in both directions. An event that wants an ack gets its own arguments back.

const ACK_LIMIT_MS = 20_000;

function isBinary(value) {
  return ArrayBuffer.isView(value) || value instanceof ArrayBuffer;
}

function base64(binary) {
  const bytes = ArrayBuffer.isView(binary)
    ? new Uint8Array(binary.buffer, binary.byteOffset, binary.byteLength)
    : new Uint8Array(binary);
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
}

function bytes(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

function mapped(value, map) {
  if (Array.isArray(value)) return value.map(map);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, map(item)]));
}

function toWire(value) {
  return isBinary(value) ? { $binary: base64(value) } : mapped(value, toWire);
}

function fromWire(value) {
  return typeof value?.$binary === "string" ? bytes(value.$binary) : mapped(value, fromWire);
}

function watch(socket, say) {
  socket.on("connect", () => {
    const transport = socket.io.engine.transport.name;
    say("connect", { id: socket.id, recovered: socket.recovered, transport });
  });
  socket.on("disconnect", (reason) => say("disconnect", { reason }));
  socket.on("connect_error", ({ message, data }) => say("connect_error", { message, data: toWire(data) }));
  // Each connection has an engine of its own, and only an open one can be upgraded.
  socket.io.on("open", () => {
    socket.io.engine.on("upgrade", (transport) => say("transport", { transport: transport.name }));
  });
  socket.onAny((event, ...args) => {
    const answer = typeof args.at(-1) === "function" ? args.pop() : undefined;
    say("event", { event, args: toWire(args), wantsAck: answer !== undefined });
    answer?.(...args);
  });
}

// What executes a command. `versions` are the stock clients, `report` takes what happens.
export function driver(versions, report) {
  const clients = new Map();
  const commands = {
    connect(name, { url, version, options }) {
      const socket = versions[version](url, { forceNew: true, ...fromWire(options) });
      clients.set(name, socket);
      watch(socket, (on, what) => report({ name, on, ...what }));
    },
    emit(name, { event, args, ref, timeoutMs }) {
      const socket = clients.get(name);
      if (ref === undefined) {
        socket.emit(event, ...fromWire(args));
        return;
      }
      const answered = (error, ...answers) =>
        report({ name, on: "ack", ref, ...(error ? { error: error.message } : { args: toWire(answers) }) });
      socket.timeout(timeoutMs ?? ACK_LIMIT_MS).emit(event, ...fromWire(args), answered);
    },
    auth: (name, { auth }) => void (clients.get(name).auth = fromWire(auth)),
    open: (name) => clients.get(name).connect(),
    disconnect: (name) => clients.get(name).disconnect(),
    status(name, { ref }) {
      const { id, connected, active, recovered, io } = clients.get(name);
      report({ name, on: "status", ref, id, connected, active, recovered, transport: io.engine?.transport?.name });
    },
  };
  return ({ op, name, ...command }) => commands[op](name, command);
}
