// The viewer in a chat (MCP Apps): draws what the create tools, ring-job-get and ring-script-run answered, and follows it to its end.
// It speaks to the host alone, by messages to its frame; every word of an answer is text here. Nothing in it spends.
"use strict";
(() => {
  const PROTOCOL = "2026-01-26";
  const PIECE_BYTES = 393216; // of a local file in one read: a multiple of three, so that the pieces of base64 fit together
  const MOST_BYTES = 24e6;
  const WAIT_S = 20;
  const MOST_LOOKS = 60;
  const OPEN = new Set(["planned", "submitting", "rendering", "storing", "waiting", "open"]);
  const ENDS = new Set(["done", "failed", "refused", "expired"]);
  const LABELS = { planned: "waiting", submitting: "sent", unknown: "outcome unknown" };
  const host = window.parent;
  const waiting = new Map();
  const jobs = new Map();
  const list = document.getElementById("jobs");
  const words = document.getElementById("words");
  const BILLED = { yes: "it was billed", no: "nothing was billed", unknown: "not known whether it was billed" };
  let able = {};
  let asked = "";
  let last = 0;

  const post = (message) => host.postMessage({ jsonrpc: "2.0", ...message }, "*");
  function ask(method, params) {
    const id = ++last;
    post({ id, method, params });
    return new Promise((resolve, reject) => waiting.set(id, { resolve, reject }));
  }

  addEventListener("message", ({ source, data }) => {
    if (source !== host || data?.jsonrpc !== "2.0") return;
    if (data.method === undefined) {
      const asked = waiting.get(data.id);
      waiting.delete(data.id);
      if (data.error) asked?.reject(new Error(data.error.message));
      else asked?.resolve(data.result);
    } else if (data.method === "ui/notifications/tool-result") take(data.params);
    else if (data.method === "ui/notifications/tool-input") expect(data.params?.arguments);
    else if (data.method === "ui/notifications/tool-cancelled") words.textContent = "The call was cancelled; a job that was started goes on.";
    else if (data.method === "ui/notifications/host-context-changed") dress(data.params);
    else if (data.id !== undefined) {
      if (data.method === "ping" || data.method === "ui/resource-teardown") post({ id: data.id, result: {} });
      else post({ id: data.id, error: { code: -32601, message: "Method not found" } });
    }
  });

  function dress(context) {
    if (context?.theme === "light" || context?.theme === "dark") document.documentElement.style.colorScheme = context.theme;
  }

  function expect(given) {
    // A failure does not say it again, and a card without words is nobody's.
    asked = typeof given?.prompt === "string" ? given.prompt : "";
    if (!jobs.size && asked) words.textContent = `Asked for: ${asked.slice(0, 200)}`;
  }

  // What an answer says of each of its jobs.
  function take(result) {
    const answer = result?.structuredContent;
    words.textContent = "";
    if (!answer || typeof answer !== "object") return say(result);
    const preview = (result.content ?? []).find((block) => block.type === "image");
    const facts = answer.success === false ? answer : answer.data ?? {};
    const several = facts.clips ?? facts.jobs;
    if (Array.isArray(several)) for (const each of several) note(each.jobId, each);
    else if (facts.jobId) note(facts.jobId, facts, preview && `data:${preview.mimeType};base64,${preview.data}`);
    if (!jobs.size || facts.dryRun) say(result);
    draw();
  }

  function say(result) {
    words.textContent = (result?.content ?? []).filter((block) => block.type === "text").map((block) => block.text).join("\n").slice(0, 2000);
    words.style.whiteSpace = "pre-wrap";
  }

  function note(id, facts, preview) {
    if (typeof id !== "string") return;
    const before = jobs.get(id) ?? { id, looks: 0 };
    if (facts.error !== undefined && facts.success === false && facts.state === undefined) facts = { ...facts, state: before.state ?? "failed" };
    jobs.set(id, { ...before, ...facts, id, preview: preview ?? before.preview });
    if (OPEN.has(facts.state)) follow(id);
  }

  // Until it is there: each look waits on the server, and costs nothing.
  async function follow(id) {
    const job = jobs.get(id);
    if (job.isFollowed || !able.serverTools || job.looks >= MOST_LOOKS) return;
    job.isFollowed = true;
    try {
      await look(id, WAIT_S);
    } catch {
      jobs.get(id).looks = MOST_LOOKS; // a button is left for that
    }
    const after = jobs.get(id);
    after.isFollowed = false;
    after.looks += 1;
    draw();
    if (OPEN.has(after.state)) follow(id);
  }

  async function look(id, waitSeconds) {
    const result = await ask("tools/call", { name: "ring-job-get", arguments: { jobId: id, waitSeconds } });
    const answer = result.structuredContent ?? {};
    const preview = (result.content ?? []).find((block) => block.type === "image");
    note(id, answer.success === false ? answer : answer.data ?? {}, preview && `data:${preview.mimeType};base64,${preview.data}`);
    draw();
  }

  const isWeb = (url) => typeof url === "string" && /^https?:\/\//i.test(url);
  const usd = (amount) => (typeof amount === "number" ? `$${amount.toFixed(amount * 100 % 1 ? 4 : 2)}` : "");
  function costOf(job) {
    if (typeof job.billedCostUsd === "number") return `${usd(job.billedCostUsd)} billed`;
    if (job.error !== undefined && BILLED[job.billed]) return BILLED[job.billed];
    for (const [amount, what] of [[job.estimatedCostUsd, "estimated"], [job.quotedUsd, "quoted"], [job.reservedUsd, "reserved"]])
      if (typeof amount === "number") return `${usd(amount)} ${what}`;
    return "";
  }

  // Of a file without an address of the web: where a person finds it on this machine.
  function pathOf(file) {
    if (file.localPath) return file.localPath;
    try {
      return isWeb(file.url) ? "" : decodeURI(String(file.url ?? "").replace(/^file:\/\//, ""));
    } catch {
      return file.url;
    }
  }

  const filesOf = (job) => (job.video ? [job.video] : Array.isArray(job.images) ? job.images : isWeb(job.url) ? [{ url: job.url, contentType: "video/mp4" }] : []);

  function draw() {
    const many = [...jobs.values()];
    list.toggleAttribute("data-few", many.length === 1);
    for (const job of many) {
      const told = JSON.stringify({ ...job, looks: 0, isFollowed: false });
      let card = list.querySelector(`[data-job="${CSS.escape(job.id)}"]`);
      if (card?.dataset.told === told.length + told.slice(-200) && card) continue;
      const fresh = drawJob(job);
      fresh.dataset.told = told.length + told.slice(-200);
      if (card) card.replaceWith(fresh);
      else list.append(fresh);
    }
  }

  function drawJob(job) {
    const card = document.getElementById("card").content.firstElementChild.cloneNode(true);
    const part = (name) => card.querySelector(name);
    const isClip = job.video !== undefined || job.qualityMode !== undefined || job.clipId !== undefined;
    const state = String(job.state ?? "");
    const prompt = String(job.prompt ?? job.clipId ?? (jobs.size === 1 ? asked : ""));
    card.dataset.job = job.id;
    card.dataset.state = state;
    part(".prompt bdi").textContent = prompt;
    part(".facts span").textContent = job.servedModel ?? job.model ?? "";
    part(".facts span + span").textContent = costOf(job);
    if (OPEN.has(state)) {
      card.dataset.live = "";
      part("progress").hidden = false;
      part("progress").value = { rendering: Math.max(6, job.progress ?? 0), storing: 95, submitting: 5 }[state] ?? 1;
    }
    if (state !== "done") mark(part(".marks"), LABELS[state] ?? state, `state ${/^[a-z]+$/.test(state) ? state : ""}`);
    if (job.sandbox) mark(part(".marks"), "sandbox", "sandbox");
    if (isClip && job.duration) mark(part(".marks"), `${job.duration} s`, "");
    const trouble = [job.error, job.error && job.nextAction, ...(job.warnings ?? [])].filter(Boolean).join("\n");
    part(".trouble").hidden = !trouble;
    part(".trouble").textContent = trouble;
    const files = filesOf(job);
    const where = files.map(pathOf).filter(Boolean).join("\n");
    part(".where").hidden = !where;
    part(".where").textContent = where;
    const deeds = part(".deeds");
    const offerPieces = () => able.serverResources && deed(deeds, isClip ? "Play the clip" : "Full size", (button) => load(job, files[0], card, button));
    if (files.length) show(job, files, part(".frame"), `${isClip ? "Clip" : "Picture"}: ${prompt.slice(0, 120)}`, offerPieces);
    if (isWeb(files[0]?.url) && able.openLinks) deed(deeds, "Open", () => ask("ui/open-link", { url: files[0].url }));
    if (files.length && !isWeb(files[0].url)) offerPieces();
    if (!ENDS.has(state) && able.serverTools) deed(deeds, "Look again", () => look(job.id, 0));
    deeds.hidden = !deeds.children.length;
    return card;
  }

  function mark(into, text, kind) {
    const span = document.createElement("span");
    span.className = `mark ${kind}`;
    span.textContent = text;
    into.append(span);
  }

  function deed(into, text, act) {
    const button = document.createElement("button");
    button.className = "quiet";
    button.textContent = text;
    button.addEventListener("click", async () => {
      button.disabled = true;
      try {
        await act(button);
        button.textContent = text;
      } catch (error) {
        words.textContent = String(error.message ?? error);
      }
      button.disabled = false;
    });
    into.append(button);
    into.hidden = false;
  }

  // The file itself where the host lets it be fetched, else the small picture that came with the answer or is kept of it.
  function show(job, files, frame, alt, offerPieces) {
    const [first] = files;
    const isVideo = String(first.contentType).startsWith("video/");
    const small = () => drawSmall(job, frame, alt);
    if (!isWeb(first.url)) return small();
    const media = document.createElement(isVideo ? "video" : "img");
    const fall = () => (media.remove(), small(), offerPieces());
    media.addEventListener("error", fall, { once: true });
    if (isVideo) {
      media.controls = true;
      media.playsInline = true;
      media.preload = "metadata";
      media.setAttribute("aria-label", alt);
      if (job.preview) media.poster = job.preview;
    } else media.alt = alt;
    media.src = first.url;
    place(frame, media);
    const rest = frame.nextElementSibling;
    for (const file of files.slice(1, 4)) {
      if (!isWeb(file.url)) continue;
      const img = document.createElement("img");
      img.alt = "One more of these pictures";
      img.src = file.url;
      img.addEventListener("error", () => img.remove());
      rest.append(img);
      rest.hidden = false;
    }
  }

  function place(frame, media) {
    frame.querySelector(".blank")?.remove();
    frame.querySelector("img, video")?.remove();
    frame.prepend(media);
  }

  async function drawSmall(job, frame, alt) {
    if (!job.preview && able.serverResources) {
      try {
        const [content] = (await ask("resources/read", { uri: `ring://jobs/${job.id}/preview` })).contents;
        job.preview = `data:${content.mimeType};base64,${content.blob}`;
      } catch {
        return; // none is kept: the frame says so
      }
    }
    if (!job.preview) return;
    const img = document.createElement("img");
    img.alt = alt;
    img.src = job.preview;
    place(frame, img);
  }

  // A file of this machine, piece by piece: no answer of a server may be large.
  async function load(job, file, card, button) {
    let base64 = "";
    let type = file.contentType;
    for (let offset = 0, total = 1; offset < total; offset += PIECE_BYTES) {
      const [content] = (await ask("resources/read", { uri: `ring://jobs/${job.id}/asset/0?offset=${offset}&length=${PIECE_BYTES}` })).contents;
      total = content._meta["ring-mcp/size"];
      if (total > MOST_BYTES) throw new Error(`It has ${Math.round(total / 1e6)} MB, which is too much to be shown here: ${pathOf(file)}`);
      base64 += content.blob;
      type = content.mimeType;
      button.textContent = `${Math.min(100, Math.round(((offset + PIECE_BYTES) / total) * 100))} %`;
    }
    const isVideo = String(type).startsWith("video/");
    const media = document.createElement(isVideo ? "video" : "img");
    if (isVideo) {
      media.controls = true;
      media.autoplay = true;
      media.setAttribute("aria-label", String(job.prompt ?? ""));
    } else media.alt = String(job.prompt ?? "");
    media.src = `data:${type};base64,${base64}`;
    place(card.querySelector(".frame"), media);
  }

  let told = "";
  new ResizeObserver(() => {
    const size = { width: Math.ceil(document.documentElement.scrollWidth), height: Math.ceil(document.body.getBoundingClientRect().height) };
    if (told === JSON.stringify(size)) return;
    told = JSON.stringify(size);
    post({ method: "ui/notifications/size-changed", params: size });
  }).observe(document.body);

  ask("ui/initialize", { protocolVersion: PROTOCOL, appInfo: { name: "ring-mcp viewer", version: "1" }, appCapabilities: { availableDisplayModes: ["inline"] } }).then((answer) => {
    able = answer.hostCapabilities ?? {};
    dress(answer.hostContext);
    post({ method: "ui/notifications/initialized" });
  });
})();
