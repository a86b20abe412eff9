"""How the pages at `/` keep themselves up to date: they fetch themselves and change only what is different.

So nobody loses the place: focus, scroll, selection and a screen reader's cursor stay where they are, which they do not
if the browser loads the page anew; without a script it does. Whoever reads can pause it. It announces one thing, that
the exporter does not answer. The exporter's clock tells the data's age, not the reader's.
"""

from __future__ import annotations

from typing import Final

SCRIPT: Final = """
"use strict";
(() => {
  const every = 5000, patience = 10000, old = 15;
  const [main, taken, age, pause, trouble] =
    ["page", "taken", "age", "pause", "trouble"].map(id => document.getElementById(id));
  let paused = false, ahead = null;

  function mend(was, now) {
    if (was.isEqualNode(now)) return;
    if (was.nodeName !== now.nodeName) return was.replaceWith(now);
    if (was.nodeType !== Node.ELEMENT_NODE) return void (was.data = now.data);
    for (const name of was.getAttributeNames()) if (!now.hasAttribute(name)) was.removeAttribute(name);
    for (const name of now.getAttributeNames()) was.setAttribute(name, now.getAttribute(name));
    const before = [...was.childNodes], after = [...now.childNodes];
    after.forEach((child, at) => at < before.length ? mend(before[at], child) : was.append(child));
    before.slice(after.length).forEach(child => child.remove());
  }

  function say(text) {
    if (trouble.textContent !== text) trouble.textContent = text;
  }

  function tell() {
    if (ahead === null) return;
    const seconds = Math.max(0, Math.round((Date.now() + ahead - Date.parse(taken.dateTime)) / 1000));
    age.textContent = seconds > old ? `\\u25b2 ${seconds} s old` : `(${seconds} s old)`;
    age.className = seconds > old ? "bad" : "";
  }

  async function refresh() {
    try {
      const answer = await fetch("", { cache: "no-store", signal: AbortSignal.timeout(patience) });
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      const found = new DOMParser().parseFromString(await answer.text(), "text/html");
      const page = found.getElementById("page");
      if (page.dataset.build !== main.dataset.build) return location.reload();
      ahead = Date.parse(answer.headers.get("date")) - Date.now();
      mend(taken, found.getElementById("taken"));
      mend(main, page);
      say("");
    } catch {
      say("\\u25b2 The exporter does not answer: what stands here is old.");
    }
    tell();
  }

  async function round() {
    if (!paused && !document.hidden) await refresh();
    setTimeout(round, every);
  }

  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.textContent = paused ? "Resume updates" : "Pause updates";
    if (!paused) refresh();
  });
  document.addEventListener("visibilitychange", () => document.hidden || paused || refresh());
  setInterval(tell, 1000);
  round();
})();
"""
