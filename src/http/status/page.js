// Keeps an open page fresh: asks for the same page every few seconds and takes over what is new, so that focus,
// selection and scrolling stay. Without it the page is whole, and a reload does the same.
"use strict";
(() => {
  const every = Number(document.body.dataset.refresh) * 1000;
  const patience = 10000;
  const live = document.getElementById("live");
  const news = document.getElementById("news");
  const pause = document.getElementById("pause");
  let timer, asking, paused = false, silentSince = null, lastAnswer = new Date();

  const clock = (time) => time.toLocaleTimeString();

  function plan() {
    clearTimeout(timer);
    if (!paused && !document.hidden) timer = setTimeout(refresh, every);
  }

  async function refresh() {
    clearTimeout(timer);
    if (asking) asking.abort();
    const mine = asking = new AbortController();
    const limit = setTimeout(() => mine.abort(), patience);
    try {
      const response = await fetch(location.href, { signal: mine.signal, cache: "no-store" });
      if (!response.ok && response.status !== 404) throw new Error("status " + response.status);
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      if (!page.getElementById("main")) throw new Error("not our page");
      if (mine !== asking) return;
      take(page);
      answered();
    } catch {
      if (mine === asking && !document.hidden) unanswered();
    } finally {
      clearTimeout(limit);
      if (mine === asking) {
        asking = undefined;
        plan();
      }
    }
  }

  function take(page) {
    const before = statuses();
    const focus = document.activeElement;
    morph(document.getElementById("main"), page.getElementById("main"));
    if (focus && focus !== document.activeElement && focus.isConnected) focus.focus({ preventScroll: true });
    document.title = page.title;
    document.getElementById("icon").href = page.getElementById("icon").getAttribute("href");
    tell(before, statuses());
    buttons();
  }

  function statuses() {
    const all = document.querySelectorAll("#main [data-status]");
    return new Map([...all].map((element) => [element.dataset.key, element.dataset.status]));
  }

  // To those who do not see it: who changed, at most three by name.
  function tell(before, now) {
    const changed = [...now].filter(([name, status]) => before.has(name) && before.get(name) !== status);
    if (!changed.length) return;
    const words = changed.slice(0, 3).map(([name, status]) => `${name}: ${status}, was ${before.get(name)}`);
    if (changed.length > 3) words.push(`and ${changed.length - 3} more`);
    news.textContent = words.join("; ") + ".";
  }

  function answered() {
    lastAnswer = new Date();
    if (silentSince) news.textContent = "The exporter answers again.";
    silentSince = null;
    show();
  }

  function unanswered() {
    if (!silentSince) {
      silentSince = lastAnswer;
      news.textContent = `No answer from the exporter since ${clock(silentSince)}. What is shown is from then.`;
    }
    show();
  }

  function show() {
    document.body.classList.toggle("silent", Boolean(silentSince));
    document.body.classList.toggle("paused", paused);
    live.textContent = silentSince ? `No answer since ${clock(silentSince)}` : paused ? `As of ${clock(lastAnswer)}` : "Live";
    pause.textContent = paused ? "Resume" : "Pause";
  }

  // Makes `old` like `now`, keeping the elements that are there. Elements with a key are known by it, wherever they went.
  function morph(old, now) {
    if (old.isEqualNode(now)) return;
    for (const { name } of [...old.attributes]) if (!now.hasAttribute(name)) old.removeAttribute(name);
    for (const { name, value } of now.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    const keyed = new Map();
    for (const child of old.children) if (child.dataset.key !== undefined) keyed.set(child.dataset.key, child);
    let at = old.firstChild;
    for (const child of now.childNodes) {
      const key = child.dataset ? child.dataset.key : undefined;
      const match = key !== undefined ? keyed.get(key) : at && alike(at, child) ? at : undefined;
      if (!match || match.nodeName !== child.nodeName) {
        old.insertBefore(document.importNode(child, true), at);
        continue;
      }
      if (match === at) at = at.nextSibling;
      else old.insertBefore(match, at);
      if (match.nodeType !== Node.ELEMENT_NODE) {
        if (match.data !== child.data) match.data = child.data;
      } else if (match.dataset.keep === undefined) morph(match, child);
    }
    while (at) {
      const next = at.nextSibling;
      at.remove();
      at = next;
    }
  }

  const alike = (a, b) =>
    a.nodeName === b.nodeName && !(a.dataset && a.dataset.key !== undefined) && (a.id || "") === (b.id || "");

  function buttons() {
    if (!navigator.clipboard) return;
    for (const button of document.querySelectorAll("button.copy[hidden]")) button.hidden = false;
  }

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button.copy");
    if (!button) return;
    try {
      await navigator.clipboard.writeText(button.previousElementSibling.textContent);
      news.textContent = "Copied.";
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = "Copy"), 1500);
    } catch {
      news.textContent = "The browser does not allow copying.";
    }
  });

  // Finds while one types. The address follows, so that it can be kept and shared.
  let typing;
  document.addEventListener("input", (event) => {
    const form = event.target.closest("#search");
    if (!form) return;
    clearTimeout(typing);
    typing = setTimeout(() => {
      const words = new URLSearchParams([...new FormData(form)].filter(([, value]) => value.trim()));
      history.replaceState(null, "", words.size ? "?" + words : "./");
      refresh();
    }, 250);
  });

  // "/" goes to the search field, as people expect of lists.
  document.addEventListener("keydown", (event) => {
    const field = document.getElementById("q");
    if (event.key !== "/" || !field || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, textarea, select")) return;
    event.preventDefault();
    field.focus();
  });

  pause.addEventListener("click", () => {
    paused = !paused;
    if (paused) clearTimeout(timer);
    else refresh();
    show();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) clearTimeout(timer);
    else if (!paused) refresh();
  });

  pause.hidden = false;
  buttons();
  show();
  plan();
})();
