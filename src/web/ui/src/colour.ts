// The brand's accent, made legible. Pure.

type Rgb = [number, number, number];

const parse = (hex: string): Rgb => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)) as Rgb;
const print = (rgb: Rgb): string => `#${rgb.map((v) => Math.round(v).toString(16).padStart(2, "0")).join("")}`;

/** Relative luminance (WCAG 2.2). */
function luminance(rgb: Rgb): number {
  const [r, g, b] = rgb.map((v) => {
    const c = v / 255;
    return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  }) as Rgb;
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/** Contrast ratio (WCAG 2.2), 1 to 21. */
export function contrast(a: string, b: string): number {
  const [x, y] = [luminance(parse(a)), luminance(parse(b))];
  return (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05);
}

/** `accent`, moved toward black or white until it has `ratio` on `ground`. */
export function legible(accent: string, ground: string, ratio = 4.6): string {
  const end: Rgb = luminance(parse(ground)) > 0.18 ? [0, 0, 0] : [255, 255, 255];
  const from = parse(accent);
  for (let step = 0; step <= 20; step++) {
    const mixed = print(from.map((v, i) => v + ((end[i] as number) - v) * (step / 20)) as Rgb);
    if (contrast(mixed, ground) >= ratio) return mixed;
  }
  return print(end);
}
