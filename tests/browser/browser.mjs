// Starts what the tests of the status page need: exporters, and Debian's Chromium with a profile of its own.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";

const modules = process.env.MCP_EXPORTER_TEST_NODE_MODULES;
if (!modules) throw new Error("MCP_EXPORTER_TEST_NODE_MODULES is not set; run tests/run.sh");
const require = createRequire(join(modules, "x.js"));
export const { chromium } = require("playwright-core");
export const axe = require("axe-core").source;

/** Nothing takes so long unless something is wrong, not even on a busy machine. */
export const patience = 60_000;

/** A port that is free now. */
function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** Waits until `found` gives something. */
export async function until(what, found) {
  const end = Date.now() + patience;
  for (;;) {
    const value = await found();
    if (value) return value;
    if (Date.now() > end) throw new Error(`waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** A running exporter: `url`, `stop()`, and `signal()`. */
export async function exporter(args, config) {
  const folder = mkdtempSync(join(tmpdir(), "mcp-exporter-browser-"));
  const file = join(folder, "mcp-exporter.yaml");
  if (config) writeFileSync(file, JSON.stringify(config));
  const port = await freePort();
  const all = [...args, ...(config ? ["--config.file", file] : []), "--web.listen-address", `127.0.0.1:${port}`];
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("MCP_EXPORTER_")));
  const child = spawn(process.env.MCP_EXPORTER_BIN, all, { stdio: ["ignore", "ignore", "pipe"], env });
  let log = "";
  child.stderr.on("data", (data) => (log = (log + data).slice(-4_000)));
  const ended = new Promise((resolve) => child.on("exit", resolve));
  const prefix = args.includes("--web.route-prefix") ? args[args.indexOf("--web.route-prefix") + 1] : "";
  const url = `http://127.0.0.1:${port}${prefix}/`;
  await until("the exporter to answer", async () => {
    if (child.exitCode !== null) throw new Error(`the exporter ended: ${log}`);
    return (await fetch(url + "-/healthy").catch(() => null))?.ok;
  });
  return {
    url,
    async stop() {
      child.kill("SIGTERM");
      await ended;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** A server that answers a health document, for exporters that are to have many: `url`, `status`, `stop()`. */
export async function healthServer() {
  const { createServer } = await import("node:http");
  const server = createServer((request, response) => {
    const status = it.status(request.url);
    if (!status) return request.socket.destroy();
    const pool = { total_connections: 20, active_connections: 7, idle_connections: 13, pool_utilization: 0.35 };
    const document = { status, database_status: "connected", connection_pool: pool, checks: { database: { status: "pass", latency_ms: 4.2 } } };
    response.setHeader("Content-Type", "application/json");
    response.end(JSON.stringify(document));
  });
  const it = {
    status: () => "healthy",
    stop: () => new Promise((resolve) => { server.close(resolve); server.closeAllConnections(); }),
  };
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  it.url = `http://127.0.0.1:${server.address().port}`;
  return it;
}

/** Debian's Chromium; Playwright gives it a new profile, and nothing of it goes beyond this machine. */
export async function browser() {
  const running = await chromium.launch({
    executablePath: process.env.MCP_EXPORTER_TEST_CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    timeout: patience,
    args: [
      "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
    ],
  });
  return {
    /** A page of its own; `options` are those of a browser context. What goes wrong in it is in `errors`. */
    async page(options = {}) {
      const context = await running.newContext({ viewport: { width: 1280, height: 800 }, ...options });
      context.setDefaultTimeout(patience);
      const page = await context.newPage();
      page.errors = [];
      page.on("pageerror", (error) => page.errors.push(String(error)));
      page.on("console", (message) => message.type() === "error" && page.errors.push(message.text()));
      return page;
    },
    stop: () => running.close(),
  };
}
