// The vendors' own clients for JavaScript, unchanged but for address and key, against a sandbox that runs.
//
//     node vendor_clients.mjs http://127.0.0.1:8790
//
// Prints one line for each call, and ends with status 1 at the first that goes wrong.

import assert from "node:assert/strict";

import { createGoogle } from "@ai-sdk/google";
import { createXai } from "@ai-sdk/xai";
import { GoogleGenAI } from "@google/genai";
import { experimental_generateVideo as generateVideo, generateImage } from "ai";

const url = process.argv[2];
const xaiKey = "sandbox-xai-key";
const googleKey = "sandbox-google-key";

async function control(path, body) {
  const answer = await fetch(`${url}/control/${path}`, { method: "POST", body: JSON.stringify(body) });
  assert.equal(answer.status, 200, await answer.text());
}

async function charges() {
  return (await (await fetch(`${url}/control/books`)).json()).count;
}

const isJpeg = (bytes) => assert.deepEqual([...bytes.slice(0, 3)], [0xff, 0xd8, 0xff]);
const isMp4 = (bytes) => assert.equal(Buffer.from(bytes.slice(4, 8)).toString(), "ftyp");

const xai = createXai({ baseURL: `${url}/xai/v1`, apiKey: xaiKey });
const google = createGoogle({ baseURL: `${url}/google/v1beta`, apiKey: googleKey });

// The SDK guards its downloads against addresses of this machine, where the sandbox is: fetched here in its place.
async function download({ url }) {
  const answer = await fetch(url);
  return { data: new Uint8Array(await answer.arrayBuffer()), mediaType: answer.headers.get("content-type") };
}

const calls = {
  "@ai-sdk/xai two pictures": async () => {
    const { images } = await generateImage({ model: xai.image("grok-imagine-image-2.0"), prompt: "a boat", n: 2 });
    assert.equal(images.length, 2);
    images.forEach((image) => isJpeg(image.uint8Array));
  },
  "@ai-sdk/xai a clip": async () => {
    await control("settings", { pending_polls: 2 });
    const { video } = await generateVideo({
      model: xai.video("grok-imagine-video"),
      prompt: "a boat",
      duration: 2,
      poll: { intervalMs: 50 },
      download,
    });
    isMp4(video.uint8Array);
  },
  "@ai-sdk/xai a refusal is an error that says why": async () => {
    await control("faults", { fault: "moderated" });
    const attempt = generateImage({ model: xai.image("grok-imagine-image-2.0"), prompt: "x", maxRetries: 0 });
    await assert.rejects(attempt, /content moderation/);
  },
  "@ai-sdk/google a picture": async () => {
    await control("settings", { google_thoughts: true });
    const model = google.image("gemini-nano-banana-2.1");
    const { image } = await generateImage({ model, prompt: "a boat", aspectRatio: "16:9", seed: 3 });
    isJpeg(image.uint8Array);
  },
  "@ai-sdk/google a block is an error, and is not retried": async () => {
    await control("faults", { fault: "google_blocked", reason: "IMAGE_SAFETY" });
    const before = await charges();
    await assert.rejects(generateImage({ model: google.image("gemini-nano-banana-2.1"), prompt: "x" }));
    assert.equal((await charges()) - before, 1);
  },
  "@ai-sdk/google a wrong key is told": async () => {
    const stranger = createGoogle({ baseURL: `${url}/google/v1beta`, apiKey: "wrong" });
    const attempt = generateImage({ model: stranger.image("gemini-nano-banana-2.1"), prompt: "x", maxRetries: 0 });
    await assert.rejects(attempt, /API key not valid/);
  },
  "@google/genai a picture": async () => {
    const client = new GoogleGenAI({ apiKey: googleKey, httpOptions: { baseUrl: `${url}/google` } });
    const answer = await client.models.generateContent({
      model: "gemini-nano-banana-2.1",
      contents: "a boat",
      config: { responseModalities: ["IMAGE"], imageConfig: { aspectRatio: "1:1", imageSize: "1K" } },
    });
    const parts = answer.candidates[0].content.parts.filter((part) => part.inlineData && !part.thought);
    isJpeg(Buffer.from(parts[0].inlineData.data, "base64"));
  },
  "@google/genai the models": async () => {
    const client = new GoogleGenAI({ apiKey: googleKey, httpOptions: { baseUrl: `${url}/google` } });
    const names = [];
    for await (const model of await client.models.list({ config: { pageSize: 2 } })) names.push(model.name);
    assert.ok(names.includes("models/gemini-omni-1.2-flash"), names.join());
  },
  "@google/genai a clip in the background": async () => {
    const client = new GoogleGenAI({ apiKey: googleKey, httpOptions: { baseUrl: `${url}/google` } });
    const started = await client.interactions.create({
      model: "gemini-omni-1.2-flash",
      input: "a boat",
      background: true,
      response_format: { type: "video", delivery: "uri", resolution: "360p", duration: "3s" },
    });
    let now = started;
    for (let looks = 0; now.status === "in_progress" && looks < 20; looks++) {
      now = await client.interactions.get(started.id);
    }
    assert.equal(now.status, "completed");
    const video = now.steps.find((step) => step.type === "model_output").content[0];
    const file = await fetch(video.uri, { headers: { "x-goog-api-key": googleKey } });
    isMp4(new Uint8Array(await file.arrayBuffer()));
  },
};

for (const [name, call] of Object.entries(calls)) {
  await control("reset", {});
  try {
    await call();
    console.log(`${name}: ok`);
  } catch (error) {
    console.log(`${name}: FAILED\n${error.stack ?? error}\n${error.responseBody ?? ""}`);
    process.exitCode = 1;
  }
}
