// A real authorization server, npm's `oidc-provider`, and a guard that asks it about every token that it is shown.
//
// Usage: node authorization.mjs MODULES PORT GUARD_PORT [PATH=PORT...]
//
// Clients get opaque tokens for client credentials: `steady` for an hour, `brief` for 60 s; the secret is in SECRET.
// The guard serves a health document at any path below /documents; a path that begins like one of the given ones goes on
// to that port of this host, if the token is good. It asks by introspection, at every request, and never remembers.
//
// For the test: `GET /seen` of the guard tells what was granted and used, `POST /revoke/CLIENT` has the authorization
// server revoke all that this client was granted.

import http from "node:http";

const [modules, port, guardPort, ...ways] = process.argv.slice(2);
const { Provider } = await import(`${modules}/oidc-provider/lib/index.js`);
const SECRET = process.env.SECRET;
const LIVES = { steady: 3600, brief: 60 };
const issuer = `http://127.0.0.1:${port}`;

const client = (client_id, grant_types) => ({
  client_id,
  client_secret: SECRET,
  grant_types,
  redirect_uris: [],
  response_types: [],
});
const provider = new Provider(issuer, {
  clients: [
    ...Object.keys(LIVES).map((name) => client(name, ["client_credentials"])),
    client("guard", []),
  ],
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    introspection: { enabled: true },
    revocation: { enabled: true },
  },
  ttl: { ClientCredentials: (_context, _token, client) => LIVES[client.clientId] },
});

// Each token with the client that it was granted to, when that was, when it ends, and how often the guard took it.
const granted = new Map();
const seen = { token_requests: 0, refused: 0, without_token: 0 };
provider.use(async (context, next) => {
  if (context.path === "/token") seen.token_requests += 1;
  await next();
  if (context.path === "/token" && context.status === 200) {
    const { access_token, expires_in } = context.body;
    const now = Date.now() / 1000;
    const client = context.oidc.client.clientId;
    granted.set(access_token, { client, granted: now, ends: now + expires_in, used: 0, used_last: null });
  }
});

const ask = async (path, client, token) => {
  const authorization = `Basic ${Buffer.from(`${client}:${encodeURIComponent(SECRET)}`).toString("base64")}`;
  const answer = await fetch(`${issuer}/token/${path}`, {
    method: "POST",
    headers: { authorization },
    body: new URLSearchParams({ token }),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${text}`);
  return text;
};

const admits = async (request) => {
  const token = request.headers.authorization?.match(/^Bearer (.+)$/)?.[1];
  if (!token) {
    seen.without_token += 1;
    return false;
  }
  if (!JSON.parse(await ask("introspection", "guard", token)).active) {
    seen.refused += 1;
    return false;
  }
  const known = granted.get(token);
  known.used += 1;
  known.used_last = Date.now() / 1000;
  return true;
};

const json = (response, body) => response.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify(body));

const pass = (request, response, port) => {
  const { method, headers, url } = request;
  const onward = http.request({ host: "127.0.0.1", port, path: url, method, headers }, (answer) => {
    response.writeHead(answer.statusCode, answer.rawHeaders);
    response.flushHeaders();
    answer.pipe(response);
  });
  // Either side may hang up: an event stream ends like that.
  onward.on("error", () => response.destroy());
  response.on("close", () => onward.destroy());
  request.pipe(onward);
};

const answer = async (request, response) => {
  const { url } = request;
  if (url === "/seen") return json(response, { ...seen, granted: [...granted.values()] });
  if (url.startsWith("/revoke/")) {
    const client = url.slice("/revoke/".length);
    const theirs = [...granted].filter(([, token]) => token.client === client);
    for (const [token] of theirs) await ask("revocation", client, token);
    return json(response, { revoked: theirs.length });
  }
  if (!(await admits(request))) {
    return response.writeHead(401, { "WWW-Authenticate": `Bearer error="invalid_token"` }).end();
  }
  if (url.startsWith("/documents/")) return json(response, { status: "healthy", uptime_seconds: 7 });
  const way = ways.map((way) => way.split("=")).find(([path]) => url.startsWith(path));
  return way ? pass(request, response, way[1]) : response.writeHead(404).end();
};

const guard = http.createServer((request, response) =>
  answer(request, response).catch((error) => {
    console.error(error);
    response.writeHead(500).end();
  }),
);
provider.listen(port, "127.0.0.1", () => guard.listen(guardPort, "127.0.0.1"));
