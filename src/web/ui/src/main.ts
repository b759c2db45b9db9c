// Opens the studio: description first, then the line on air.

import { api, type Floorcast } from "./api";
import { Controls } from "./controls";
import { $, setText } from "./dom";
import { Figures } from "./figures";
import { fetchStudio } from "./link";
import { Player, type Status } from "./player";
import { pauseMs } from "./retry";
import { remember } from "./remember";
import { Screen } from "./screen";
import { named, pickLang, say, type Lang } from "./text";
import { query, wantedFeed, wantedMode } from "./wanted";
import type { Feed, Studio } from "./wire";

declare global {
  interface Window {
    floorcast: Floorcast;
  }
}

let lang: Lang = pickLang(query.get("lang") ?? remember.get("lang"), navigator.languages);

const screen = new Screen();
const figures = new Figures(lang);
let player: Player | null = null;
let studio: Studio | null = null;
let status: Status | null = null;
let spoken = "";

window.floorcast = api(() => player);

const controls = new Controls({
  togglePause: () => {
    player?.hold(!player.isHeld);
    controls.relabel(lang, player?.isHeld ?? false);
  },
  setMode: (mode) => {
    remember.set("mode", mode);
    player?.setMode(mode);
    controls.showMode(mode);
  },
  mode: () => player?.mode ?? wantedMode,
  step: (by) => {
    if (!player || !studio || studio.feeds.length < 2) return;
    const at = studio.feeds.findIndex((f) => f.id === player?.feed.id);
    const next = studio.feeds[(at + by + studio.feeds.length) % studio.feeds.length];
    if (next) pick(next);
  },
  toggleLanguage: () => {
    lang = lang === "zh" ? "en" : "zh";
    remember.set("lang", lang);
    relabel();
  },
  summary: () => {
    if (!status || !studio || !player) return say(lang, "slate_connecting");
    return `${screen.words(status, studio, player.feed, lang)}. ${figures.words()}`;
  },
  link: () => {
    const url = new URL(location.pathname, location.href);
    if (studio && player && studio.feeds.length > 1) url.searchParams.set("feed", player.feed.id);
    return url.href;
  },
  title: () => (studio ? named(lang, studio.name) : document.title),
});

function relabel(): void {
  document.documentElement.lang = lang === "zh" ? "zh-CN" : "en";
  controls.relabel(lang);
  $("figures-title").textContent = say(lang, "figures");
  figures.relabel(lang);
  if (studio) screen.brand(studio, lang);
  if (studio && player) screen.feeds(studio, player.feed, lang, pick);
  if (status) screen.show(status, lang);
  else setText($("badge-word"), say(lang, "connecting"));
}

function pick(feed: Feed): void {
  if (!player || !studio || feed.id === player.feed.id) return;
  player.select(feed);
  controls.relabel(lang, false);
  screen.feeds(studio, feed, lang, pick);
  history.replaceState(null, "", `?feed=${encodeURIComponent(feed.id)}`);
}

function onStatus(next: Status): void {
  status = next;
  screen.show(next, lang);
  controls.showMode(next.mode);
  // State changes are rare and worth saying; figures are not read out.
  const word = say(lang, next.shown);
  if (word !== spoken) setText($("announce"), (spoken = word));
}

function describe(next: Studio): void {
  studio = next;
  screen.brand(next, lang);
  if (!player) return;
  figures.build(player.join, lang);
  const [first] = next.feeds;
  const gone = !next.feeds.some((feed) => feed.id === player?.feed.id);
  if (gone && first) pick(first);
  screen.feeds(next, player.feed, lang, pick);
}

function start(described: Studio): void {
  studio = described;
  screen.brand(described, lang);
  const feed = described.feeds.find((f) => f.id === wantedFeed) ?? described.feeds[0];
  if (!feed) {
    setText($("slate-title"), say(lang, "no_feeds"));
    return;
  }
  player = new Player($<HTMLVideoElement>("video"), described, feed, wantedMode, {
    views: (views, utcUs) => figures.show(views, utcUs, status?.mode === "fast", performance.now()),
    status: onStatus,
    studio: describe,
  });
  describe(described);
}

async function open(): Promise<void> {
  for (let failures = 1; ; failures++) {
    try {
      start(await fetchStudio());
      return;
    } catch {
      $("studio").dataset.shown = "offline";
      setText($("badge-word"), say(lang, "offline"));
      setText($("slate-title"), say(lang, "slate_offline"));
      await new Promise((resolve) => setTimeout(resolve, pauseMs(failures, Math.random())));
    }
  }
}

setText($("slate-title"), say(lang, "slate_connecting"));
relabel();
controls.showMode(wantedMode);
void open();
