// Stock Socket.IO clients in a page of a headless browser, driven as client.mjs is. The page comes from a server of its
// own, so that to a node it is another origin: --origin HOST gives it a name that is not this machine's.

import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";

const { values } = parseArgs({ options: { origin: { type: "string", default: "127.0.0.1" } } });
const require = createRequire(import.meta.url);

// The bundles that the packages offer to pages, without a build step.
const bundle = (name) => readFileSync(join(dirname(require.resolve(name)), "../../dist/socket.io.esm.min.js"));
const page = `<!doctype html><title>a page</title><script type="module">
  import { io as newest } from "/4.8.mjs";
  import { io as oldest } from "/4.6.mjs";
  import { driver } from "/clients.mjs";
  // One after the other: reports keep their order.
  let last = Promise.resolve();
  const report = (what) => {
    const body = JSON.stringify(what);
    last = last.then(() => fetch("/reports", { method: "POST", body }));
  };
  const drive = driver({ 4.8: newest, 4.6: oldest }, report);
  new EventSource("/commands").onmessage = ({ data }) => drive(JSON.parse(data));
</script>`;
const files = {
  "/": ["text/html; charset=utf-8", page],
  "/clients.mjs": ["text/javascript", readFileSync(new URL("clients.mjs", import.meta.url))],
  "/4.8.mjs": ["text/javascript", bundle("socket.io-client")],
  "/4.6.mjs": ["text/javascript", bundle("socket.io-client-4.6")],
};

let openCommands;
const commands = new Promise((resolve) => (openCommands = resolve));

const server = createServer(async (request, response) => {
  if (request.url === "/commands") {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.flushHeaders();
    openCommands(response);
  } else if (request.url === "/reports") {
    let body = "";
    for await (const chunk of request) body += chunk;
    process.stdout.write(`${body}\n`);
    response.end();
  } else {
    const [type, content] = files[request.url] ?? ["text/plain", ""];
    response.writeHead(files[request.url] ? 200 : 404, { "content-type": type });
    response.end(content);
  }
});

server.listen(0, "127.0.0.1");
await once(server, "listening");
const find = "command -v chromium || command -v chromium-browser || command -v google-chrome";
const program = execFileSync("sh", ["-c", find], { encoding: "utf8" }).trim();
const profile = mkdtempSync(join(tmpdir(), "greenroom-browser-"));
const browser = spawn(
  program,
  [
    "--headless",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    // Whoever runs tests as root has no use for its sandbox, and it refuses to start with one.
    ...(process.getuid() === 0 ? ["--no-sandbox"] : []),
    "--no-proxy-server",
    `--user-data-dir=${profile}`,
    `--host-resolver-rules=MAP ${values.origin} 127.0.0.1`,
    `http://${values.origin}:${server.address().port}/`,
  ],
  { stdio: "ignore" },
);

async function end(code) {
  if (browser.exitCode === null) {
    browser.kill();
    await once(browser, "exit");
  }
  rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  process.exit(code);
}

browser.once("exit", () => void end(1));
createInterface({ input: process.stdin }).on("line", async (line) => {
  (await commands).write(`data: ${line}\n\n`);
});
process.stdin.on("end", () => void end(0));
process.on("SIGTERM", () => void end(0));
