// Measures the weight of the status page and how soon something is to be seen: `measure.mjs [SERVERS]`. No test: prints.

import { cpus } from "node:os";
import { browser, exporter, healthServer, until } from "./browser.mjs";

const many = Number(process.argv[2] ?? 1_000);
const loads = 11;
const servers = await healthServer();
// One in ten is degraded and one in a hundred is down, so that there are texts to show.
servers.status = (url) => (url.endsWith("00/health") ? null : url.endsWith("5/health") ? "degraded" : "healthy");
const list = Array.from({ length: many }, (_, index) => ({ name: `server-${index}`, url: `${servers.url}/${index}/health`, labels: { team: "search" } }));
const fleet = await exporter([], { defaults: { interval: "5s", timeout: "1s", retries: 0 }, servers: list });
const chromium = await browser();
try {
  const polled = async () => {
    const { history } = await (await fetch(fleet.url + "api/v1/servers/server-1")).json();
    return history.polls.length >= Number(process.env.POLLS ?? 3);
  };
  for (const end = Date.now() + 900_000; Date.now() < end && !(await polled()); ) await new Promise((resolve) => setTimeout(resolve, 1_000));
  const bytes = async (path, encoding) => {
    const { get } = await import("node:http");
    return new Promise((resolve) => get(fleet.url + path, { headers: { "Accept-Encoding": encoding } }, (answer) => {
      let sum = 0;
      answer.on("data", (data) => (sum += data.length)).on("end", () => resolve(sum));
    }));
  };
  for (const path of ["", "servers/server-1", "api/v1/servers?limit=1000"]) {
    console.log(`/${path}: ${await bytes(path, "identity")} bytes, ${await bytes(path, "gzip")} compressed`);
  }
  const paints = [];
  for (let load = 0; load < loads; load += 1) {
    const page = await chromium.page();
    await page.goto(fleet.url);
    const paint = await until("a paint", () => page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime));
    paints.push(paint);
    await page.context().close();
  }
  paints.sort((a, b) => a - b);
  console.log(`first paint of ${loads} loads with an empty cache: median ${paints[loads >> 1].toFixed(0)} ms, slowest ${paints[loads - 1].toFixed(0)} ms`);
  console.log(`${many} servers, ${cpus().length} cores of ${cpus()[0].model.trim()}, ${process.env.MCP_EXPORTER_BIN}`);
} finally {
  await chromium.stop();
  await fleet.stop();
  await servers.stop();
}
