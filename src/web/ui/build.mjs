// Builds the page into dist/: hashed names, minified, with .gz beside each
// file that gains by it. `node build.mjs --test` bundles the unit tests
// into .test/ instead.

import { build } from "esbuild";
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const here = dirname(fileURLToPath(import.meta.url));
const at = (...parts) => join(here, ...parts);

/** What the whole page may weigh over the wire before video. */
const LIMIT = 150_000;

async function tests() {
  rmSync(at(".test"), { recursive: true, force: true });
  const names = readdirSync(at("test")).filter((name) => name.endsWith(".test.ts"));
  await build({
    entryPoints: names.map((name) => at("test", name)),
    outdir: at(".test"),
    outExtension: { ".js": ".mjs" },
    bundle: true,
    format: "esm",
    platform: "node",
    target: "node18",
    sourcemap: "inline",
    logLevel: "warning",
  });
}

async function bundle(entry, format = "esm") {
  const { outputFiles } = await build({
    entryPoints: [at(entry)],
    bundle: true,
    minify: true,
    write: false,
    format,
    target: ["chrome83", "safari15.4", "firefox115"],
    legalComments: "none",
    logLevel: "warning",
  });
  return Buffer.from(outputFiles[0].contents);
}

async function page() {
  const dist = at("dist");
  rmSync(dist, { recursive: true, force: true });
  mkdirSync(join(dist, "assets"), { recursive: true });
  let total = 0;
  const put = (path, bytes) => {
    const gz = gzipSync(bytes, { level: 9 });
    writeFileSync(join(dist, path), bytes);
    writeFileSync(join(dist, `${path}.gz`), gz);
    total += gz.length;
    console.log(`${path}  ${bytes.length} B, ${gz.length} B compressed`);
  };
  let html = readFileSync(at("index.html"), "utf8");
  // Inline, so that it runs before anything else is fetched; the policy allows it by its hash.
  const early = (await bundle("src/early.ts", "iife")).toString().trim();
  const hash = createHash("sha256").update(early).digest("base64");
  html = html.replace("EARLY-HASH", hash).replace("EARLY", () => early);
  const assets = { "app.js": await bundle("src/main.ts"), "app.css": await bundle("style/app.css") };
  assets["icon.svg"] = readFileSync(at("icon.svg"));
  for (const [name, bytes] of Object.entries(assets)) {
    const hash = createHash("sha256").update(bytes).digest("hex").slice(0, 10);
    const hashed = name.replace(".", `-${hash}.`);
    put(`assets/${hashed}`, bytes);
    html = html.replaceAll(`/assets/${name}`, `/assets/${hashed}`);
  }
  put("index.html", Buffer.from(html.replace(/\n\s*/g, "\n")));
  console.log(`${total} B compressed in all`);
  if (total > LIMIT) throw new Error(`the page weighs ${total} B compressed; the limit is ${LIMIT}`);
}

await (process.argv.includes("--test") ? tests() : page());
