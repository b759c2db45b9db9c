// What is written over and around the picture: badge, latency, slate, names.

import { $, make, setData, setHidden, setText } from "./dom";
import * as format from "./format";
import type { Status } from "./player";
import { legible } from "./colour";
import { lineWord, named, say, why, type Lang, type Word } from "./text";
import type { Feed, Studio } from "./wire";

/** A reconnect shorter than this needs no words over the last picture. */
const CALM_MS = 700;

export class Screen {
  private readonly root = $("studio");
  private since = 0;

  brand(studio: Studio, lang: Lang): void {
    setText($("line"), named(lang, studio.name));
    setText($("brand"), named(lang, studio.brand));
    setHidden($("brand"), named(lang, studio.brand) === "");
    document.title = [named(lang, studio.name), named(lang, studio.brand)].filter(Boolean).join(" · ");
    const logo = $<HTMLImageElement>("logo");
    if (studio.logo && logo.getAttribute("src") !== studio.logo) logo.src = studio.logo;
    logo.alt = "";
    setHidden(logo, !studio.logo);
    const style = document.documentElement.style;
    style.setProperty("--accent-on-dark", legible(studio.accent, "#12110f"));
    style.setProperty("--accent-on-light", legible(studio.accent, "#f6f3ec"));
  }

  /** Names of feeds as buttons; hidden when there is no choice. */
  feeds(studio: Studio, current: Feed, lang: Lang, pick: (feed: Feed) => void): void {
    const nav = $("feeds");
    setHidden(nav, studio.feeds.length < 2);
    nav.setAttribute("aria-label", say(lang, "feeds"));
    const buttons = studio.feeds.map((feed) => {
      const button = make("button", "feed", named(lang, feed.name));
      button.type = "button";
      setData(button, "state", feed.state.state);
      button.title = why(lang, feed.state.code).join(" · ");
      button.setAttribute("aria-pressed", String(feed.id === current.id));
      button.onclick = () => pick(feed);
      return button;
    });
    const focused = [...nav.children].indexOf(document.activeElement as Element);
    nav.replaceChildren(...buttons);
    buttons[focused]?.focus();
    document.documentElement.style.setProperty("--ratio", String(current.width / current.height));
  }

  show(status: Status, lang: Lang): void {
    const now = Date.now();
    if (this.root.dataset.shown !== status.shown) this.since = now;
    setData(this.root, "shown", status.shown);
    setText($("badge-word"), say(lang, status.shown));
    // Without a frame's own time there is no telling how old it is.
    const latency = status.how === "arrival" ? null : status.latencyMs;
    setText($("latency"), latency === null ? "" : say(lang, "delay", format.latency(latency, lang)));
    setHidden($("figures-stale"), !(status.figuresStale && status.shown === "live"));
    setText($("figures-stale"), say(lang, "figures_stale"));
    const line = status.shown === "live" && status.lineState !== "running" ? status.lineState : null;
    setHidden($("line-state"), !line);
    setText($("line-state"), line ? lineWord(lang, line) : "");
    const near = status.how === "ssrc" || status.how === "arrival";
    setHidden($("approximate"), !near);
    setText($("approximate"), say(lang, "approximate"));
    $("approximate").title = near ? say(lang, status.how === "ssrc" ? "nearly_why" : "approximate_why") : "";
    setText($("viewers"), status.viewers > 0 && status.link === "up" ? say(lang, "viewers", status.viewers) : "");
    this.slate(status, lang, now);
  }

  private slate(status: Status, lang: Lang, now: number): void {
    const { shown } = status;
    const brief = shown === "connecting" && status.lastLiveMs > 0 && now - this.since < CALM_MS;
    // The picture stays to be seen beside these; the others cover it.
    const beside = shown === "still" || shown === "suspect";
    const over = shown !== "live" && !beside && !brief;
    setHidden($("slate"), !over && !beside);
    setData($("slate"), "kind", shown);
    if (!over && !beside) return;
    const back = shown === "connecting" && status.lastLiveMs > 0;
    setText($("slate-title"), say(lang, back ? "slate_back" : (`slate_${shown}` as Word)));
    setText($("slate-note"), this.note(status, lang, now));
  }

  private note(status: Status, lang: Lang, now: number): string {
    const { shown, health, lastLiveMs, retryAt } = status;
    const parts: string[] = [];
    if (shown === "held") parts.push(say(lang, "slate_held_how"));
    if (shown === "full") parts.push(say(lang, "slate_full_how"));
    if (shown === "no_signal" || shown === "paused") {
      if (health) parts.push(...why(lang, health.code));
      if (health?.sinceUtcUs) parts.push(say(lang, "since", format.clock(health.sinceUtcUs / 1000, now, lang)));
    }
    if (shown === "suspect" || (shown === "connecting" && health?.state === "connecting")) {
      parts.push(...why(lang, health?.code ?? ""));
    }
    if (shown === "offline" && lastLiveMs) parts.push(say(lang, "last_live", format.clock(lastLiveMs, now, lang)));
    const left = retryAt - performance.now();
    if ((shown === "offline" || shown === "full") && left > 950) {
      parts.push(say(lang, "retry_in", format.age(Math.ceil(left / 1000) * 1000, lang).replace(/\.0/, "")));
    }
    return parts.join(" · ");
  }

  /** The state in words, for the spoken summary. */
  words(status: Status, studio: Studio, feed: Feed, lang: Lang): string {
    const slate = $("slate").hidden ? "" : `${$("slate-title").textContent} ${$("slate-note").textContent}`;
    const name = [named(lang, studio.name), named(lang, feed.name)].join(", ");
    return [name, say(lang, status.shown), $("latency").textContent, slate].filter(Boolean).join(". ");
  }
}
