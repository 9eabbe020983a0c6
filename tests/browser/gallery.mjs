// Looks at the gallery as a person does, in a real Chromium, and prints what it saw as lines of JSON.
//
// Standard input: {"url", "token", "chromium", "shots", "jobs": {"done", "hostile"}}. A page that fails leaves a picture in the folder of shots.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const require = createRequire(join(process.env.RING_TEST_MODULES, "_.js"));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const given = JSON.parse(readFileSync(0, "utf8"));
const browser = await chromium.launch({ executablePath: given.chromium, args: ["--no-sandbox", "--disable-gpu"] });
const tell = (name, seen) => process.stdout.write(`${JSON.stringify({ name, seen })}\n`);
const troubles = [];
const foreign = [];

async function open(options) {
  const context = await browser.newContext({ permissions: ["clipboard-read", "clipboard-write"], ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  page.on("pageerror", (error) => troubles.push(String(error)));
  page.on("dialog", (dialog) => (troubles.push(`dialog ${dialog.message()}`), dialog.dismiss()));
  page.on("console", (said) => said.type() === "error" && troubles.push(said.text()));
  page.on("request", (request) => request.url().startsWith(given.url) || foreign.push(request.url()));
  await page.goto(`${given.url}/gallery`);
  await page.getByLabel("Service token").fill(given.token);
  await page.getByRole("button", { name: "Log in" }).click();
  await page.getByRole("link", { name: "Spending" }).waitFor({ state: "visible" });
  return page;
}

async function judge(page, name) {
  // A string that is evaluated by the debugger: the page's own policy lets no script in.
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => axe.run());
  tell(`axe ${name}`, violations.map(({ id, impact, nodes }) => ({ id, impact, node: nodes[0].html.slice(0, 200) })));
  tell(`wide ${name}`, await page.evaluate(() => document.documentElement.scrollWidth - innerWidth));
}

const cards = (page) => page.locator(".card").count();
let page;
let at = "login";
try {
  for (const [width, height] of [[1280, 900], [390, 844]])
    for (const colorScheme of ["light", "dark"]) {
      page = await open({ viewport: { width, height }, colorScheme });
      for (const [name, path] of [["grid", ""], ["job", `/jobs/${given.jobs.done}`], ["hostile", `/jobs/${given.jobs.hostile}`], ["spending", "/spending"], ["nothing", "?ref=nothing"]]) {
        at = `${name} ${width} ${colorScheme}`;
        await page.goto(`${given.url}/gallery${path}`);
        await judge(page, at);
      }
      if (width === 390) await page.context().close();
    }

  at = "scroll";
  page = await open({ viewport: { width: 1280, height: 900 } });
  while (await page.locator("#older").count()) {
    const before = await cards(page);
    await page.evaluate(() => scrollTo(0, document.body.scrollHeight));
    await page.waitForFunction((seen) => document.querySelectorAll(".card").length > seen || !document.getElementById("older"), before);
  }
  const ids = await page.locator(".card").evaluateAll((all) => all.map((card) => card.dataset.job));
  const headings = await page.locator(".day").evaluateAll((all) => all.map((day) => day.dataset.day));
  tell("scroll", { all: ids.length, distinct: new Set(ids).size, headings: headings.length, days: new Set(headings).size });

  at = "keys";
  await page.goto(`${given.url}/gallery`);
  await page.keyboard.press("/");
  tell("slash", await page.evaluate(() => document.activeElement.name));
  await page.locator(".card .open").first().focus();
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("ArrowDown");
  const row = await page.evaluate(() => [...document.querySelectorAll(".card .open")].indexOf(document.activeElement));
  await page.keyboard.press("ArrowUp");
  tell("arrows", [row, await page.evaluate(() => [...document.querySelectorAll(".card .open")].indexOf(document.activeElement))]);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Make it again" }).waitFor();
  await page.keyboard.press("Escape");
  await page.locator(".filters").waitFor();

  at = "copy";
  await page.goto(`${given.url}/gallery/jobs/${given.jobs.hostile}`);
  await page.getByRole("button", { name: "Copy as tool call" }).click();
  await page.getByRole("button", { name: "Copied" }).waitFor();
  tell("copied", JSON.parse(await page.evaluate(() => navigator.clipboard.readText())));
  tell("shown", await page.locator("#prompt").innerText());

  at = "live";
  await page.goto(`${given.url}/gallery`);
  await page.locator("#news").waitFor({ state: "attached" });
  tell("ready", true);
  await page.getByRole("link", { name: "Show what is new" }).click();
  const live = page.locator(".card[data-live]");
  await live.first().waitFor();
  const job = await live.first().getAttribute("data-job");
  const card = page.locator(`.card[data-job="${job}"]`);
  tell("live", { job, progress: await card.locator("progress").count() });
  await page.locator(`.card[data-job="${job}"][data-state="done"]`).waitFor();
  tell("ended", { job, progress: await card.locator("progress").count() });

  at = "without scripts";
  page = await open({ javaScriptEnabled: false });
  const plain = await cards(page);
  await page.getByRole("link", { name: "Older", exact: true }).click();
  await page.waitForURL(/before=/);
  await page.locator(".card .open").first().click();
  tell("plain", { plain, media: await page.locator("figure img, figure video").count() });
  tell("log out", await page.getByRole("button", { name: "Log out" }).click().then(() => page.getByLabel("Service token").count()));
} catch (error) {
  await page?.screenshot({ path: join(given.shots, `${at}.png`) });
  process.stderr.write(`${at}: ${error}\n`);
  process.exitCode = 1;
} finally {
  tell("troubles", troubles);
  tell("foreign", foreign);
  await browser.close();
}
