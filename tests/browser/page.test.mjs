// The status page in a real browser, against the real program.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { axe, browser, exporter, healthServer, patience, until } from "./browser.mjs";

let chromium, demo, fleet, servers;
const NAMES = Array.from({ length: 150 }, (_, index) => `server-${String(index).padStart(3, "0")}`);
const ODD = "Größe a/b?c#d%20e <b>";

before(async () => {
  chromium = await browser();
  servers = await healthServer();
  const named = [...NAMES, ODD].map((name, index) => ({ name, url: `${servers.url}/${index}/health`, labels: { team: index % 2 ? "shop" : "search" } }));
  fleet = await exporter([], { defaults: { interval: "1s", timeout: "900ms", retries: 0 }, servers: named });
  demo = await exporter(["demo"]);
  await until("every server to have been polled", async () => (await counts(fleet)).healthy === named.length);
});

after(async () => {
  await chromium?.stop();
  await demo?.stop();
  await fleet?.stop();
  await servers?.stop();
});

const counts = async (exporter) => (await (await fetch(exporter.url + "api/v1/servers")).json()).counts;
const names = (page) => page.locator(".card h3").allTextContents();

/** Nothing failed in the page: no script error, nothing that the policy had to stop. */
const clean = (page) => assert.deepEqual(page.errors, []);

test("a server goes down and comes back, and an open page shows it", { timeout: 3 * patience }, async () => {
  const page = await chromium.page();
  await page.goto(demo.url);
  await page.evaluate(() => (window.same = true));
  await page.locator("#q").focus();
  let seen;
  for (const status of ["unhealthy", "healthy", "unhealthy"]) {
    // All of it at one moment: it will be well again soon.
    const handle = await page.waitForFunction((wanted) => {
      const card = document.querySelector('[data-key="billing"]');
      return card.dataset.status === wanted && {
        same: window.same,
        news: document.getElementById("news").textContent,
        title: document.title,
        icon: document.getElementById("icon").getAttribute("href"),
        why: card.querySelector(".why")?.textContent,
        order: [...document.querySelectorAll(".card h3")].map((name) => name.textContent),
      };
    }, status);
    seen = await handle.jsonValue();
  }
  assert.equal(seen.same, true, "without a reload");
  assert.match(seen.news, /billing: unhealthy, was healthy/);
  assert.match(seen.title, /1 of 3 servers needs you/);
  assert.match(seen.icon, /down\.svg/);
  assert.match(seen.why, /connection to the database lost/);
  assert.deepEqual(seen.order, ["billing", "orders", "search"], "the worst first");
  assert.equal(await page.evaluate(() => document.activeElement.id), "q", "the focus stays");
  clean(page);
});

test("an exporter that stops answering is told, and so is its return", { timeout: 3 * patience }, async () => {
  const page = await chromium.page();
  await page.goto(demo.url);
  await page.route(demo.url, (route) => route.abort());
  await page.waitForFunction(() => document.getElementById("live").textContent.startsWith("No answer since "));
  assert.match(await page.locator("#news").textContent(), /No answer from the exporter since/);
  assert.equal(await page.locator(".card").count(), 3, "what was known stays");
  await page.unroute(demo.url);
  await page.waitForFunction(() => document.getElementById("live").textContent === "Live");
});

test("a page that is paused stays as it is", { timeout: 3 * patience }, async () => {
  const page = await chromium.page();
  await page.goto(demo.url);
  let asked = 0;
  page.on("request", () => (asked += 1));
  await page.waitForRequest(demo.url);
  await page.getByRole("button", { name: "Pause" }).click();
  await page.getByRole("button", { name: "Resume" }).waitFor();
  await page.waitForLoadState("networkidle");
  const before = asked;
  // Longer than a refresh takes to come: what is to be seen is that nothing happens.
  await page.waitForTimeout(7_000);
  assert.equal(asked, before);
  await Promise.all([page.waitForRequest(demo.url), page.getByRole("button", { name: "Resume" }).click()]);
});

test("servers are found by words, status and page", { timeout: 3 * patience }, async () => {
  const page = await chromium.page();
  await page.goto(fleet.url);
  assert.equal((await names(page)).length, 100);
  await page.getByRole("link", { name: "Better" }).click();
  assert.equal((await names(page)).length, NAMES.length + 1 - 100);
  assert.match(await page.locator(".paging").textContent(), /101 to 151 of 151/);
  await page.getByRole("link", { name: "Worse" }).click();
  await page.locator("#q").fill("server-14");
  await page.waitForFunction(() => document.querySelectorAll(".card").length === 10);
  assert.match(page.url(), /\?q=server-14$/, "the address can be kept");
  await page.locator("#q").fill("server-14 team=shop");
  await page.waitForFunction(() => document.querySelectorAll(".card").length === 5);
  await page.locator("#q").fill("nobody");
  await page.getByText("No server matches “nobody”").waitFor();
  await page.getByRole("link", { name: "Show all servers" }).click();
  assert.equal((await names(page)).length, 100);

  servers.status = (url) => (url.startsWith("/7/") ? "degraded" : url.startsWith("/9/") ? null : "healthy");
  await page.waitForFunction(() => document.querySelector(".card")?.dataset.status === "failed");
  await page.getByRole("link", { name: /^Failed 1/ }).click();
  assert.deepEqual(await names(page), ["server-009"]);
  await page.goto(fleet.url + "?status=degraded");
  await page.waitForFunction(() => document.querySelectorAll(".card").length === 1);
  assert.deepEqual(await names(page), ["server-007"]);
  clean(page);
});

test("a server has a page of its own, whatever its name", { timeout: 3 * patience }, async () => {
  const page = await chromium.page();
  await page.goto(fleet.url + "?q=Gr%C3%B6%C3%9Fe");
  await page.getByRole("link", { name: ODD }).click();
  assert.equal(await page.locator("h1").textContent(), ODD);
  await page.getByRole("link", { name: "← All servers" }).click();
  assert.equal((await names(page)).length, 100);

  await page.goto(demo.url + "servers/orders");
  for (const heading of ["Last polls", "Pool and database", "Checks", "What it says", "The last poll", "Last failures", "Changes of status", "Ask Prometheus"]) {
    await page.getByRole("heading", { name: heading }).waitFor();
  }
  assert.equal(await page.getByRole("link", { name: "MCPDegraded" }).count(), 1);
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  await page.getByRole("button", { name: "Copy" }).first().click();
  await page.getByRole("button", { name: "Copied" }).waitFor();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), 'mcp_up{server="orders"}');
  clean(page);
  const missing = await page.goto(demo.url + "servers/order");
  assert.equal(missing.status(), 404);
  await page.getByRole("link", { name: "orders" }).click();
  assert.equal(await page.locator("h1").textContent(), "orders");
});

test("the keyboard is enough", { timeout: 3 * patience }, async () => {
  const page = await chromium.page();
  await page.goto(demo.url);
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the content");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.activeElement.id === "main");
  await page.keyboard.press("/");
  assert.equal(await page.evaluate(() => document.activeElement.id), "q");
  await page.keyboard.type("search");
  await page.waitForFunction(() => document.querySelectorAll(".card").length === 1);
  await page.keyboard.press("Tab");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "search");
  const outline = await page.evaluate(() => getComputedStyle(document.activeElement.closest(".card")).outlineStyle);
  assert.equal(outline, "solid", "one sees where one is");
  await page.keyboard.press("Enter");
  await page.waitForURL(demo.url + "servers/search");
});

test("nothing needs a script", { timeout: 3 * patience }, async () => {
  const page = await chromium.page({ javaScriptEnabled: false });
  await page.goto(fleet.url);
  await page.getByRole("link", { name: "Better" }).click();
  await page.locator("#q").fill("server-14 team=shop");
  await page.getByRole("button", { name: "Find" }).click();
  assert.equal((await names(page)).length, 5);
  await page.getByRole("link", { name: "server-141" }).click();
  assert.equal(await page.locator("h1").textContent(), "server-141");
  assert.equal(await page.getByRole("button").count(), 0, "no button that does nothing");
});

test("it works below a prefix, and with nothing to show", { timeout: 3 * patience }, async () => {
  const below = await exporter(["--web.route-prefix", "/mon/mcp"], { servers: [] });
  try {
    const page = await chromium.page();
    await page.goto(below.url);
    await page.getByText("Two lines are enough to begin").waitFor();
    assert.equal(await page.getByRole("link", { name: "Metrics" }).getAttribute("href"), "metrics");
    await page.waitForFunction(() => document.getElementById("live").textContent === "Live");
    clean(page);
  } finally {
    await below.stop();
  }
});

for (const colorScheme of ["light", "dark"]) {
  test(`axe finds nothing serious in ${colorScheme}`, { timeout: 3 * patience }, async () => {
    for (const viewport of [{ width: 1280, height: 800 }, { width: 390, height: 844 }]) {
      const page = await chromium.page({ colorScheme, viewport });
      const pages = [demo.url, `${demo.url}servers/billing`, `${demo.url}servers/orders`, `${demo.url}servers/nobody`, `${demo.url}?q=nobody`, fleet.url];
      for (const url of pages) {
        await page.goto(url);
        await page.evaluate(axe);
        const { violations, passes } = await page.evaluate(() => window.axe.run());
        const serious = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
        const told = serious.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => html + "\n" + failureSummary).join("\n")}`);
        assert.deepEqual(told, [], url);
        assert.ok(passes.length > 10, "axe looked");
        const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
        assert.equal(wide, 0, `${url} scrolls sideways at ${viewport.width}`);
      }
    }
  });
}
