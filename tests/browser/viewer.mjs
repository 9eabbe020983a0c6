// Opens the viewer in the official host library, in a real Chromium, and tells what a person would see.
//
// Standard input: {"url", "chromium", "shots", "axe"?, "cases": [{"name", "frame", "sandbox", "capabilities", "theme", "args", "result", "clicks"}]}. Calls of the
// viewer go to {"url"}/tools and {"url"}/resources, which pass them on to a real server. One line of JSON for each case.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const require = createRequire(join(process.env.RING_TEST_MODULES, "_.js"));
const { chromium } = require("playwright-core");
const { buildSync } = require("esbuild");
const here = dirname(fileURLToPath(import.meta.url));
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const { outputFiles: [host] } = buildSync({ entryPoints: [join(here, "viewer_host.js")], bundle: true, write: false, format: "iife", platform: "browser", logLevel: "error" });
const given = JSON.parse(readFileSync(0, "utf8"));
const browser = await chromium.launch({ executablePath: given.chromium, args: ["--no-sandbox", "--disable-gpu"] });
const pass = (path) => async (params) => {
  const answer = await fetch(given.url + path, { method: "POST", body: JSON.stringify(params) });
  const told = await answer.json();
  if (told.error) throw new Error(told.error);
  return told.result;
};
let page;
let at = "";
let troubles = [];
try {
  for (const one of given.cases) {
    at = one.name;
    const context = await browser.newContext({ viewport: { width: one.width ?? 720, height: 760 }, colorScheme: one.scheme ?? "light" });
    page = await context.newPage();
    page.setDefaultTimeout(60_000);
    troubles = [];
    page.on("pageerror", (error) => troubles.push(String(error)));
    page.on("dialog", (dialog) => (troubles.push(`dialog ${dialog.message()}`), dialog.dismiss()));
    page.on("console", (said) => said.type() === "error" && troubles.push(said.text()));
    await page.exposeFunction("callTool", pass("/tools"));
    await page.exposeFunction("readResource", pass("/resources"));
    await page.goto(`${given.url}/host`);
    await page.addScriptTag({ content: host.text });
    await page.evaluate((of) => window.openViewer(of), one);
    await page.evaluate(([args, result]) => window.giveResult(args, result), [one.args ?? {}, one.result]);
    const frame = page.frameLocator("iframe");
    for (const wanted of one.waits ?? []) await frame.locator(wanted).first().waitFor({ state: "attached" });
    for (const name of one.clicks ?? []) {
      await frame.getByRole("button", { name }).first().click();
      // A button is off and counts while its file comes in pieces; then it has its name again.
      await frame.getByRole("button", { name, disabled: false }).first().waitFor();
    }
    for (const wanted of one.then ?? []) await frame.locator(wanted).first().waitFor({ state: "attached" });
    const inside = page.frames().find((each) => each !== page.mainFrame());
    const media = await inside.evaluate(async () => {
      const all = [...document.querySelectorAll("img, video")];
      return Promise.all(all.map(async (one) => {
        if (one.tagName === "VIDEO") await new Promise((done) => (one.readyState ? done() : (one.onloadedmetadata = done, one.onerror = done)));
        else await one.decode().catch(() => {});
        return { tag: one.tagName, from: one.src.slice(0, 24), width: one.naturalWidth ?? one.videoWidth, alt: one.alt ?? one.getAttribute("aria-label") };
      }));
    });
    await inside.evaluate(axe);
    const { violations } = await inside.evaluate(() => axe.run());
    const seen = await page.evaluate(() => window.seen);
    await page.screenshot({ path: join(given.shots, `viewer-${one.name}.png`) });
    process.stdout.write(`${JSON.stringify({ name: one.name, text: await inside.locator("main").innerText(), media, seen, troubles, axe: violations.map((each) => [each.id, each.nodes[0].html.slice(0, 120)]) })}\n`);
    await context.close();
  }
} catch (error) {
  await page?.screenshot({ path: join(given.shots, `${at}.png`) });
  process.stderr.write(`${at}: ${error}\n${troubles.join("\n")}\n`);
  process.exitCode = 1;
} finally {
  await browser.close();
}
