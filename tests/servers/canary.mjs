// A real server on the official TypeScript SDK whose tools are called as canaries, on standard input and output.
//
// Usage: node canary.mjs MODULES STATE CALLS. STATE is read again at each call and list, as canary.py reads it; each call is
// written down in CALLS.

import { appendFileSync, readFileSync } from "node:fs";

const [modules, file, calls] = process.argv.slice(2);
const sdk = `${modules}/@modelcontextprotocol/sdk/dist/esm`;
const { Server } = await import(`${sdk}/server/index.js`);
const { StdioServerTransport } = await import(`${sdk}/server/stdio.js`);
const { CallToolRequestSchema, ListToolsRequestSchema } = await import(`${sdk}/types.js`);

const state = () => JSON.parse(readFileSync(file, "utf8"));
const server = new Server({ name: "canary-server", version: "1.0.0" }, { capabilities: { tools: {} } });
const text = (text) => ({ content: [{ type: "text", text }] });

function tools() {
  const { gone, destructive } = state();
  const find = { name: "find", annotations: destructive ? { destructiveHint: true } : { readOnlyHint: true } };
  const all = [
    ...(gone ? [] : [find]),
    { name: "say", annotations: { readOnlyHint: true } },
    { name: "unannotated" },
    { name: "delete", annotations: { readOnlyHint: true, destructiveHint: true } },
  ];
  return all.map((tool) => ({ ...tool, inputSchema: { type: "object" } }));
}

async function call(name, { query } = {}) {
  appendFileSync(calls, `${name}\n`);
  if (name === "say") return text("pong 7");
  if (name !== "find") return text("called");
  const { score, fail, seconds = 0 } = state();
  await new Promise((done) => setTimeout(done, seconds * 1000));
  if (fail) return { ...text(`no index for ${query}`), isError: true };
  // No structured content: the text is JSON.
  return text(JSON.stringify({ results: [{ path: "a.ts", score }], query }));
}

server.setRequestHandler(ListToolsRequestSchema, async () => ({ tools: tools() }));
server.setRequestHandler(CallToolRequestSchema, ({ params }) => call(params.name, params.arguments));
await server.connect(new StdioServerTransport());
