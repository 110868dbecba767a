// A real server on the official TypeScript SDK whose tools are a file, on standard input and output.
//
// Usage: node catalog.mjs MODULES CATALOG. The file, {"tools": [...]} as the protocol has them, is read again at each list;
// when it changes, the client is told so by `notifications/tools/list_changed`.

import { readFileSync, watchFile } from "node:fs";

const [modules, catalog] = process.argv.slice(2);
const sdk = `${modules}/@modelcontextprotocol/sdk/dist/esm`;
const { Server } = await import(`${sdk}/server/index.js`);
const { StdioServerTransport } = await import(`${sdk}/server/stdio.js`);
const { ListToolsRequestSchema } = await import(`${sdk}/types.js`);

const server = new Server(
  { name: "catalog-server", version: "1.0.0" },
  { capabilities: { tools: { listChanged: true } } },
);
server.setRequestHandler(ListToolsRequestSchema, async () => ({
  tools: JSON.parse(readFileSync(catalog, "utf8")).tools,
}));
await server.connect(new StdioServerTransport());
watchFile(catalog, { interval: 100 }, () => server.sendToolListChanged());
