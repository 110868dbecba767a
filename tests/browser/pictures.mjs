// Takes the pictures of the status page: `pictures.mjs FOLDER`. They are looked at by people; one stands in the README.

import { join } from "node:path";
import { browser, exporter, until } from "./browser.mjs";

const folder = process.argv[2];
if (!folder) throw new Error("usage: pictures.mjs FOLDER");
const chromium = await browser();
const demo = await exporter(["demo"]);
try {
  // `billing` loses its database 30 seconds after its start, for 15; by then the strips tell something.
  await new Promise((resolve) => setTimeout(resolve, 1_000 * Number(process.env.PICTURE_AFTER ?? 130)));
  await until("billing to be down", async () => {
    const answer = await fetch(demo.url + "api/v1/servers/billing");
    const { status, since } = await answer.json();
    return status === "unhealthy" && Date.now() - Date.parse(since) > 4_000;
  });
  for (const [name, options] of [
    ["light", { viewport: { width: 1280, height: 832 } }],
    ["dark", { colorScheme: "dark" }],
    ["phone", { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true }],
    ["wall", { viewport: { width: 2560, height: 1440 }, colorScheme: "dark" }],
  ]) {
    const page = await chromium.page(options);
    for (const [what, path] of [["fleet", ""], ["server", "servers/billing"]]) {
      await page.goto(demo.url + path, { waitUntil: "networkidle" });
      await page.screenshot({ path: join(folder, `${what}-${name}.png`), fullPage: what === "server" });
    }
    await page.context().close();
  }
} finally {
  await chromium.stop();
  await demo.stop();
}
