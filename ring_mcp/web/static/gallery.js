// What a page does beyond being looked at: it follows jobs under way, fetches older ones, copies, and obeys keys.
// Without it everything can be seen; nothing here spends. Documents come by XMLHttpRequest, so that no text becomes markup here.
"use strict";
(() => {
  const root = document.body.dataset.root;
  const days = document.getElementById("days");
  const news = document.getElementById("news");

  function fetchDocument(address, use, fail) {
    const request = new XMLHttpRequest();
    request.open("GET", address);
    request.responseType = "document";
    request.onload = () => (request.status === 200 && request.response ? use(request.response) : fail?.());
    request.onerror = () => fail?.();
    request.send();
  }

  // Older jobs, when the end of the page comes near.
  function addOlder(page) {
    const known = new Set([...days.querySelectorAll("[data-job]")].map((card) => card.dataset.job));
    for (const section of page.querySelectorAll("#days > .day")) {
      for (const item of section.querySelectorAll("li"))
        if (known.has(item.querySelector("[data-job]").dataset.job)) item.remove();
      const last = days.lastElementChild;
      if (last && last.dataset.day === section.dataset.day)
        last.querySelector(".grid").append(...document.adoptNode(section).querySelectorAll("li"));
      else if (section.querySelector("li")) days.append(document.adoptNode(section));
    }
    const next = page.getElementById("older");
    if (next) document.getElementById("older").setAttribute("href", next.getAttribute("href"));
    else document.getElementById("older").closest(".more").remove();
    follow();
  }

  const older = document.getElementById("older");
  if (older && days && "IntersectionObserver" in window) {
    let isFetching = false;
    const watcher = new IntersectionObserver((entries) => {
      if (isFetching || !entries.some((entry) => entry.isIntersecting)) return;
      isFetching = true;
      fetchDocument(older.getAttribute("href"), (page) => {
        if (!page.getElementById("days")) return watcher.disconnect(); // a login has ended: the link asks for the token
        addOlder(page);
        isFetching = false;
        watcher.unobserve(older);
        if (older.isConnected) watcher.observe(older);
      }, () => watcher.disconnect()); // the link is still there to be clicked
    }, { rootMargin: "1200px" });
    watcher.observe(older);
  }

  // Jobs under way.
  const MOST_FOLLOWED = 24;
  let stream = null;
  let followed = "";

  function show(fact) {
    for (const card of document.querySelectorAll(`[data-job="${CSS.escape(fact.id)}"]`)) {
      if (!fact.settled) {
        card.querySelector('[data-slot="percent"]')?.setAttribute("value", fact.percent);
        const label = card.querySelector('[data-slot="label"]');
        if (label) label.textContent = fact.label;
      } else if ("whole" in card.dataset) location.reload();
      else
        fetchDocument(`${root}/jobs/${encodeURIComponent(fact.id)}/card`, (page) => {
          const fresh = page.querySelector(".card");
          const hadFocus = card.contains(document.activeElement);
          if (!fresh) return;
          card.replaceWith(document.adoptNode(fresh));
          if (hadFocus) fresh.querySelector("a").focus();
          if (news) news.textContent = `A ${fact.kind} has ended: ${fact.label}.`;
          follow();
        });
    }
  }

  function follow() {
    if (document.hidden || !window.EventSource) {
      stream?.close();
      stream = null;
      followed = "";
      return;
    }
    const ids = [...document.querySelectorAll("[data-live]")].slice(0, MOST_FOLLOWED).map((card) => card.dataset.job);
    const asked = new URLSearchParams(days ? location.search : "");
    for (const id of ids) asked.append("job", id);
    const isFirst = days && "first" in days.dataset;
    if (isFirst) asked.set("newest", days.dataset.newest);
    const address = `${root}/events?${asked}`;
    if (address === followed) return;
    stream?.close();
    stream = null;
    followed = address;
    if (!ids.length && !isFirst) return;
    stream = new EventSource(address);
    stream.addEventListener("job", (event) => show(JSON.parse(event.data)));
    stream.addEventListener("newer", () => {
      const link = document.createElement("a");
      link.href = location.href;
      link.className = "button";
      link.textContent = "Show what is new";
      news?.replaceChildren(link);
    });
    stream.addEventListener("end", () => stream?.close());
  }
  document.addEventListener("visibilitychange", follow);
  addEventListener("pageshow", follow);
  addEventListener("pagehide", () => stream?.close());

  // Copying.
  for (const button of document.querySelectorAll("[data-copy]")) {
    if (!navigator.clipboard) continue; // over plain http to another machine a page may not
    button.hidden = false;
    button.addEventListener("click", async () => {
      const words = button.textContent;
      try {
        await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
        button.textContent = "Copied";
      } catch {
        button.textContent = "Could not be copied";
      }
      setTimeout(() => (button.textContent = words), 2000);
    });
  }

  // Filters.
  for (const choice of document.querySelectorAll(".filters select"))
    choice.addEventListener("change", () => choice.form.requestSubmit());
  document.querySelector(".filters")?.addEventListener("submit", (event) => {
    for (const field of event.target.querySelectorAll("input, select")) field.disabled = !field.value;
    setTimeout(() => { for (const field of event.target.querySelectorAll(":disabled")) field.disabled = false; });
  });

  // Keys.
  const inField = (element) => element.closest("input, select, textarea, video, pre, summary");
  function near(from, key) {
    const links = [...document.querySelectorAll(".card .open")];
    const at = links.indexOf(from);
    if (at < 0) return links[0];
    if (key === "ArrowRight") return links[at + 1];
    if (key === "ArrowLeft") return links[at - 1];
    const box = from.getBoundingClientRect();
    const rows = (key === "ArrowDown" ? links.slice(at + 1) : links.slice(0, at).reverse()).filter((link) =>
      key === "ArrowDown" ? link.getBoundingClientRect().top > box.top + 8 : link.getBoundingClientRect().top < box.top - 8);
    const top = rows[0]?.getBoundingClientRect().top;
    const row = rows.filter((link) => Math.abs(link.getBoundingClientRect().top - top) < 8);
    const away = (link) => Math.abs(link.getBoundingClientRect().left - box.left);
    return row.sort((a, b) => away(a) - away(b))[0];
  }
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || inField(event.target)) return;
    if (event.key.startsWith("Arrow") && days) {
      if (!event.target.matches(".open") && (event.key === "ArrowUp" || event.key === "ArrowDown")) return; // scrolls
      const link = near(event.target, event.key);
      if (link) {
        event.preventDefault();
        link.focus();
        link.scrollIntoView({ block: "nearest" });
      }
    } else if (event.key === "/" && days) {
      event.preventDefault();
      document.querySelector(".filters select").focus();
    } else if (event.key === "Escape" && document.querySelector("[data-back]")) back(event);
    else if (event.key === "ArrowRight") document.getElementById("older-job")?.click();
  });

  // Back to where one was in the gallery, with what had been fetched there.
  function back(event) {
    if (history.length < 2 || !document.referrer.startsWith(`${location.origin}${root}`) || document.referrer.includes("/jobs/")) {
      if (event.key === "Escape") location.href = root;
      return;
    }
    event.preventDefault();
    history.back();
  }
  document.querySelector("[data-back]")?.addEventListener("click", back);

  follow();
})();
