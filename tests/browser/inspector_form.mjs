// Fills the forms of the MCP Inspector's web page as a person does, and prints what each tool answered.
//
// Standard input: {"url", "chromium", "shots", "steps": [{"tool", "fill", "pick", "json", "check"}]}. A value "$job" is the id
// that the last answer ended with. One line of JSON for each step: {"tool", "answer", "image"}. A step that fails leaves a
// picture and the text of the page in the folder of shots, and ends with status 1.
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const { chromium } = createRequire(join(process.env.RING_TEST_MODULES, "_.js"))("playwright-core");
const given = JSON.parse(readFileSync(0, "utf8"));
const browser = await chromium.launch({ executablePath: given.chromium, args: ["--no-sandbox", "--disable-gpu"] });
const page = await browser.newPage({ viewport: { width: 1400, height: 1600 } });
page.setDefaultTimeout(60_000);
const form = page.locator("main");
let job = "";
let at = "connect";

async function run(step) {
  await form.getByRole("button", { name: new RegExp(`${step.tool}$`) }).click();
  const execute = form.getByRole("button", { name: "Execute Tool", exact: true });
  const clear = form.getByRole("button", { name: "Close results" });
  await execute.or(clear).waitFor();
  if (await clear.isVisible()) await clear.click();
  await execute.waitFor();
  for (const [name, value] of Object.entries(step.fill ?? {}))
    await form.getByRole("textbox", { name, exact: true }).fill(value.replace("$job", job));
  for (const [name, value] of Object.entries(step.pick ?? {})) {
    await form.getByRole("textbox", { name, exact: true }).click();
    await page.getByRole("option", { name: value, exact: true }).click();
  }
  for (const [name, value] of Object.entries(step.json ?? {})) {
    await form.getByRole("textbox", { name: new RegExp(`^${name}, Cursor`) }).focus();
    await page.keyboard.press("ControlOrMeta+A");
    await page.keyboard.insertText(JSON.stringify(value));
  }
  for (const name of step.check ?? []) await form.getByRole("checkbox", { name, exact: true }).check();
  await execute.click();
  await form.getByRole("heading", { name: "Results" }).waitFor();
  await form.getByRole("heading", { name: "Structured Output" }).waitFor();
  const answer = await form.innerText();
  job = /\bjob(?:Id)?:? ([0-9a-f]{8}[0-9a-f-]*)/.exec(answer)?.[1] ?? job;
  const image = await form.getByRole("img", { name: "Content preview" }).count();
  process.stdout.write(`${JSON.stringify({ tool: step.tool, answer, image: image > 0 })}\n`);
}

try {
  await page.goto(given.url);
  await page.getByRole("switch", { name: /Connect or disconnect/ }).click({ force: true });
  await page.getByRole("radio", { name: "Tools" }).waitFor({ state: "attached" });
  await page.getByText("Tools", { exact: true }).first().click();
  await page.getByRole("button", { name: "Close monitoring sidebar" }).click();
  for (const step of given.steps) {
    at = step.tool;
    await run(step);
  }
} catch (error) {
  await page.screenshot({ path: join(given.shots, `${at}.png`), fullPage: true });
  writeFileSync(join(given.shots, `${at}.txt`), `${error}\n\n${await page.locator("body").innerText()}\n`);
  process.stderr.write(`${at}: ${error}\n`);
  process.exitCode = 1;
} finally {
  await browser.close();
}
