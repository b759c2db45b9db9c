// Hands: buttons, taps and keys. Each does one thing, whichever way it is asked.

import { $, make, setHidden, setText } from "./dom";
import { say, type Lang, type Word } from "./text";
import type { Mode } from "./wire";

export interface Actions {
  togglePause(): void;
  setMode(mode: Mode): void;
  mode(): Mode;
  step(by: 1 | -1): void;
  toggleLanguage(): void;
  summary(): string;
  link(): string;
  title(): string;
}

/** Controls fade when nothing was touched for this long. */
const IDLE_MS = 3000;

interface WebkitVideo extends HTMLVideoElement {
  webkitEnterFullscreen?: () => void;
  webkitSetPresentationMode?: (mode: string) => void;
}

export class Controls {
  private readonly root = $("studio");
  private readonly stage = $("stage");
  private readonly video = $<WebkitVideo>("video");
  private readonly help = $<HTMLDialogElement>("help");
  private idle = 0;
  private toastTimer = 0;
  private lang: Lang = "en";

  constructor(private readonly actions: Actions) {
    const on = (id: string, act: () => void): void => {
      $(id).addEventListener("click", act);
    };
    on("pause", () => actions.togglePause());
    on("fullscreen", () => this.fullscreen());
    on("pip", () => void this.pip());
    on("share", () => void this.share());
    on("language", () => actions.toggleLanguage());
    on("summary", () => this.summary());
    on("help-open", () => this.openHelp());
    on("help-close", () => this.help.close());
    on("exact", () => actions.setMode("exact"));
    on("fast", () => actions.setMode("fast"));
    this.video.addEventListener("click", () => this.tap());
    $("slate").addEventListener("click", () => this.tap());
    for (const kind of ["pointermove", "focusin"]) this.stage.addEventListener(kind, () => this.wake());
    document.addEventListener("keydown", (event) => this.key(event));
    document.addEventListener("fullscreenchange", () => this.relabel(this.lang));
    setHidden($("pip"), !(document.pictureInPictureEnabled || this.video.webkitSetPresentationMode));
    setHidden($("fullscreen"), !(document.fullscreenEnabled || this.video.webkitEnterFullscreen));
    this.wake();
  }

  relabel(lang: Lang, held = this.stage.dataset.held === "true"): void {
    this.lang = lang;
    this.stage.dataset.held = String(held);
    const label = (id: string, word: Word): void => {
      const text = say(lang, word);
      $(id).setAttribute("aria-label", text);
      $(id).title = text;
    };
    label("pause", held ? "play" : "pause");
    label("fullscreen", document.fullscreenElement ? "leave_fullscreen" : "fullscreen");
    label("pip", "pip");
    label("share", "share");
    label("help-open", "help");
    for (const id of ["language", "summary", "exact", "fast"] as const) setText($(id), say(lang, id));
    $("language").lang = lang === "zh" ? "en" : "zh-CN";
    $("exact").title = say(lang, "exact_why");
    $("fast").title = say(lang, "fast_why");
    $("mode").setAttribute("aria-label", say(lang, "mode"));
    $("controls").setAttribute("aria-label", say(lang, "controls"));
    this.stage.setAttribute("aria-label", say(lang, "picture"));
    this.fillHelp(lang);
  }

  showMode(mode: Mode): void {
    $("exact").setAttribute("aria-pressed", String(mode === "exact"));
    $("fast").setAttribute("aria-pressed", String(mode === "fast"));
  }

  private fillHelp(lang: Lang): void {
    setText($("help-title"), say(lang, "help"));
    setText($("help-keys"), say(lang, "keys"));
    setText($("help-close"), say(lang, "close"));
    setText($("about-exact"), say(lang, "about_exact"));
    setText($("about-stale"), say(lang, "about_stale"));
    const keys: [string, Word][] = [
      [say(lang, "key_space"), "pause"], ["F", "fullscreen"], ["P", "pip"], ["← →", "key_arrows"],
      ["M", "key_mode"], ["L", "language"], ["S", "summary"], ["?", "help"],
    ];
    $("keys").replaceChildren(...keys.flatMap(([key, word]) => {
      const term = make("dt");
      term.append(make("kbd", "", key));
      return [term, make("dd", "", say(lang, word))];
    }));
  }

  private wake(): void {
    this.root.classList.remove("idle");
    clearTimeout(this.idle);
    this.idle = window.setTimeout(() => this.root.classList.add("idle"), IDLE_MS);
  }

  /** A tap shows the controls; on a held picture it goes back to live. */
  private tap(): void {
    if (this.stage.dataset.held === "true") this.actions.togglePause();
    else if (this.root.classList.contains("idle") || matchMedia("(hover: none)").matches) {
      const was = this.root.classList.contains("idle");
      this.wake();
      if (!was) this.root.classList.add("idle");
    }
  }

  private key(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey || this.help.open) return;
    const target = event.target as HTMLElement;
    const own = target.closest("button, summary, input, a");
    if (own && (event.key === " " || event.key === "Enter")) return;
    const acts: Record<string, () => void> = {
      " ": () => this.actions.togglePause(),
      f: () => this.fullscreen(),
      p: () => void this.pip(),
      ArrowRight: () => this.actions.step(1),
      ArrowLeft: () => this.actions.step(-1),
      m: () => this.actions.setMode(this.actions.mode() === "exact" ? "fast" : "exact"),
      l: () => this.actions.toggleLanguage(),
      s: () => this.summary(),
      "?": () => this.openHelp(),
    };
    const act = acts[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act) return;
    event.preventDefault();
    this.wake();
    act();
  }

  private openHelp(): void {
    if (!this.help.open) this.help.showModal();
  }

  private fullscreen(): void {
    if (document.fullscreenElement) void document.exitFullscreen();
    else if (this.root.requestFullscreen) void this.root.requestFullscreen().catch(() => undefined);
    else this.video.webkitEnterFullscreen?.();
  }

  private async pip(): Promise<void> {
    try {
      if (document.pictureInPictureElement) await document.exitPictureInPicture();
      else if (document.pictureInPictureEnabled) await this.video.requestPictureInPicture();
      else this.video.webkitSetPresentationMode?.("picture-in-picture");
    } catch {
      // The browser refused: the picture stays where it is.
    }
  }

  private async share(): Promise<void> {
    const url = this.actions.link();
    const phone = matchMedia("(pointer: coarse)").matches;
    try {
      if (phone && navigator.share) {
        await navigator.share({ title: this.actions.title(), url });
        return;
      }
    } catch {
      return;
    }
    try {
      await navigator.clipboard.writeText(url);
      this.toast(say(this.lang, "copied"));
    } catch {
      this.offer(url);
    }
  }

  /** Where the clipboard is out of reach (plain http), the link is offered selected. */
  private offer(url: string): void {
    const input = make("input");
    input.value = url;
    input.readOnly = true;
    input.setAttribute("aria-label", say(this.lang, "copy_this"));
    this.toast(say(this.lang, "copy_this"), 20_000).append(input);
    input.select();
    input.addEventListener("blur", () => setHidden($("toast"), true));
  }

  private toast(text: string, ms = 2500): HTMLElement {
    const toast = $("toast");
    toast.textContent = text;
    setHidden(toast, false);
    clearTimeout(this.toastTimer);
    this.toastTimer = window.setTimeout(() => setHidden(toast, true), ms);
    return toast;
  }

  /** Spoken by screen readers, and shown for those who asked by eye. */
  private summary(): void {
    const said = this.actions.summary();
    $("said").textContent = "";
    setTimeout(() => ($("said").textContent = said), 50);
    this.toast(said, 8000).setAttribute("aria-hidden", "true");
  }
}
