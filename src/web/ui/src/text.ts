// Every word of the page, in both languages.

import type { Label } from "./wire";

export type Lang = "zh" | "en";

const words = {
  live: ["直播中", "LIVE"],
  still: ["画面静止", "STILL"],
  suspect: ["画面存疑", "IN DOUBT"],
  connecting: ["连接中", "CONNECTING"],
  no_signal: ["无信号", "NO SIGNAL"],
  paused: ["暂停", "PAUSED"],
  held: ["已暂停", "PAUSED BY YOU"],
  full: ["人数已满", "FULL"],
  offline: ["离线", "OFFLINE"],

  slate_connecting: ["正在连接产线", "Connecting to the line"],
  slate_back: ["画面中断，正在恢复", "The picture was lost; getting it back"],
  slate_no_signal: ["摄像机没有信号", "No signal from the camera"],
  slate_paused: ["画面已由现场暂停", "The picture is paused by the site"],
  slate_held: ["您已暂停画面", "You paused the picture"],
  slate_held_how: ["点按画面或按空格键回到直播", "Tap the picture or press space to go back to live"],
  slate_full: ["观看人数已达上限", "The viewer limit is reached"],
  slate_full_how: ["有空位时会自动进入", "You will be let in as soon as there is room"],
  slate_offline: ["暂时联系不上现场", "The site cannot be reached right now"],
  slate_suspect: ["画面可能有问题", "The picture may not be right"],
  slate_still: ["画面在传送，但内容没有变化", "Pictures arrive, but nothing in them changes"],
  why_starting: ["摄像机正在启动", "The camera is starting"],
  why_unplugged: ["摄像机已断开", "The camera is disconnected"],
  why_no_signal: ["摄像机没有传来画面", "The camera sends no pictures"],
  why_busy: ["摄像机正被占用", "The camera is in use elsewhere"],
  why_wrong_format: ["摄像机格式不受支持", "The camera's format is not supported"],
  why_privacy: ["隐私保护已开启", "Privacy mode is on"],
  why_paused: ["画面已由现场暂停", "Paused by the house"],
  why_identify: ["正在辨认设备", "This camera is being identified"],
  why_encoder: ["视频编码中断，正在恢复", "Encoding was interrupted; getting it back"],
  why_failed: ["画面暂时不可用", "The picture is not available"],
  why_frozen: ["摄像机一直重复同一画面", "The camera repeats one and the same picture"],
  why_dark: ["画面全黑：镜头被遮挡或没有光", "The picture is black: covered, or no light"],
  why_slow: ["画面帧率明显下降", "Far fewer pictures than usual"],
  why_gaps: ["画面丢失严重", "Many pictures are lost"],
  why_damaged: ["画面大量损坏", "Many pictures are damaged"],
  why_resting: ["无人观看，画面休眠中", "Resting: nobody was watching"],
  figures_go_on: ["数据照常更新", "The figures go on"],
  no_feeds: ["这条产线还没有画面", "This line has no picture yet"],

  since: ["始于 {}", "since {}"],
  last_live: ["上次直播 {}", "last live {}"],
  retry_in: ["{}后重试", "trying again in {}"],
  ago: ["{}前", "{} ago"],
  delay: ["延迟 {}", "{} behind"],
  viewers: ["{} 人在看", "{} watching"],

  figures: ["产线数据", "Figures"],
  figures_stale: ["数据已过时", "Figures stale"],
  approximate: ["数据为近似对应", "Figures approximate"],
  approximate_why: [
    "此浏览器不提供每帧的时间，数据按到达先后显示",
    "This browser does not tell the time of each frame; figures are shown as they arrive",
  ],
  nearly_why: [
    "此浏览器只提供近似的帧时间，数据可能相差一两帧",
    "This browser tells the time of a frame only nearly; figures may be a frame or two off",
  ],
  more: ["全部数据（{}）", "All figures ({})"],
  name: ["名称", "Name"],
  value: ["数值", "Value"],
  measured: ["采集于", "Taken"],
  stale: ["过时", "stale"],
  bad: ["无有效数据", "no valid value"],
  unknown: ["尚无数据", "nothing yet"],
  above: ["高于 {}", "above {}"],
  below: ["低于 {}", "below {}"],
  trend: ["近 60 秒走势", "Trend of the last 60 s"],
  span: ["近 60 秒：{} 至 {}", "Last 60 s: {} to {}"],
  why: ["为什么没有数值？", "Why is there no value?"],

  line_running: ["产线运行中", "Line running"],
  line_stopped: ["产线停机", "Line stopped"],
  line_starved: ["产线待料", "Line waiting for material"],
  line_changeover: ["产线换批", "Line changing over"],
  line_cleaning: ["产线清洗中", "Line being cleaned"],
  line_fault: ["产线故障", "Line at fault"],
  line_idle: ["产线空闲", "Line idle"],

  picture: ["产线画面", "Picture of the line"],
  feeds: ["机位", "Cameras"],
  controls: ["播放控制", "Controls"],
  pause: ["暂停", "Pause"],
  play: ["回到直播", "Back to live"],
  fullscreen: ["全屏", "Full screen"],
  leave_fullscreen: ["退出全屏", "Leave full screen"],
  pip: ["画中画", "Picture in picture"],
  share: ["分享", "Share"],
  copied: ["链接已复制", "Link copied"],
  copy_this: ["请复制此链接", "Copy this link"],
  exact: ["精确", "Exact"],
  fast: ["最快", "Fast"],
  mode: ["同步方式", "Timing"],
  exact_why: ["画面稍等数据，帧与数据精确对应", "The picture waits a moment for its figures: exact to the frame"],
  fast_why: ["画面最快，数据可能稍晚，并标出时间", "The picture does not wait; figures may lag and show their age"],
  language: ["English", "中文"],
  summary: ["朗读概况", "Say a summary"],
  help: ["帮助", "Help"],
  close: ["关闭", "Close"],
  keys: ["快捷键", "Keys"],
  key_space: ["空格", "Space"],
  key_arrows: ["切换机位", "Change camera"],
  key_mode: ["精确 / 最快", "Exact or fast"],
  about_exact: [
    "每个数据都对应画面中的那一帧：显示的是该帧拍摄时刻（或之前）最新采集的数值。",
    "Each figure belongs to the very frame on screen: it is the newest value taken at or before the moment that frame was captured.",
  ],
  about_stale: [
    "灰色表示数据已过时，横线表示没有有效数据。",
    "Grey means a figure is out of date; a dash means there is no valid value.",
  ],
} satisfies Record<string, [string, string]>;

export type Word = keyof typeof words;

/** A phrase, with `{}` filled in order. */
export function say(lang: Lang, word: Word, ...fill: (string | number)[]): string {
  let i = 0;
  return words[word][lang === "zh" ? 0 : 1].replace(/\{\}/g, () => String(fill[i++] ?? ""));
}

/** Why a feed is not live, in words, where the box gave a reason we know. */
export function why(lang: Lang, code: string): string[] {
  const word = `why_${code}`;
  return word in words ? [say(lang, word as Word)] : [];
}

/** What a line says of itself; its own word where we know none. */
export function lineWord(lang: Lang, state: string): string {
  const word = `line_${state.toLowerCase()}`;
  return word in words ? say(lang, word as Word) : state;
}

export const named = (lang: Lang, label: Label): string => label[lang];

/** The viewer's choice if there is one, else what the browser asks for. */
export function pickLang(chosen: string | null, languages: readonly string[]): Lang {
  if (chosen === "zh" || chosen === "en") return chosen;
  for (const tag of languages) {
    if (/^zh\b/i.test(tag)) return "zh";
    if (/^en\b/i.test(tag)) return "en";
  }
  return "en";
}
