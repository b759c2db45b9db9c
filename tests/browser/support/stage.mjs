// A stage for the page alone: its built files, a studio description, and a
// WHEP endpoint that answers as told. No daemon, no network.

import { createServer } from "node:http";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const DIST = fileURLToPath(new URL("../../../src/web/ui/dist", import.meta.url));
const KINDS = { js: "text/javascript", css: "text/css", svg: "image/svg+xml", html: "text/html; charset=utf-8" };
/** As the daemon's: the build wrote the hash of the one inline script beside it. */
const EARLY = /data-sha256="([^"]+)"/.exec(readFileSync(join(DIST, "index.html"), "utf8"))?.[1];
const POLICY = `default-src 'self'; script-src 'self' 'sha256-${EARLY}'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors *`;

const tag = (id, name, zh, en, unit, decimals, range, figure, more = {}) => ({
  id, name, label: { zh, en }, unit, decimals, range, warn: [null, null], stale_after_ms: 2000, figure, ...more,
});

/** A filling line as the demo has it; `feeds` pictures of it. */
export function studio({ feeds = 2, state = { state: "live", since_utc_us: 0, code: "" } } = {}) {
  const names = [["灌装机", "Filler"], ["检测站", "Inspection"], ["装箱", "Packing"]];
  return {
    version: 1,
    box: { site: "demo", id: "line" },
    name: { zh: "三号灌装线", en: "Filling line 3" },
    brand: { zh: "琥珀泉", en: "Amber Spring" },
    accent: "#d98a1f",
    logo: null,
    clock: { state: "locked", error_us: 120 },
    viewers: 7,
    feeds: names.slice(0, feeds).map(([zh, en], i) => ({
      id: `cam${i}`, name: { zh, en }, width: 1280, height: 720, fps: 30, whep: `/whep/cam${i}`, state,
    })),
    tags: [
      tag(1, "line.rate", "速度", "Speed", "/min", 0, [0, 200], 0),
      tag(2, "line.made", "已灌装", "Filled", "", 0, [0, 999999], 1),
      tag(3, "line.rejected", "剔除", "Rejected", "", 0, [0, 9999], 2),
      tag(4, "tank.temp", "料液温度", "Liquid temperature", "°C", 1, [0, 90], 3, { warn: [null, 68] }),
      tag(5, "fill.volume", "灌装量", "Fill volume", "ml", 1, [0, 600], 4),
      tag(6, "lot", "批次", "Lot", "", 0, null, 5, { stale_after_ms: 60000 }),
      tag(7, "air.pressure", "气压", "Air pressure", "bar", 2, [0, 10], null),
      tag(8, "valve.open", "阀门打开", "Valve open", "", 0, null, null),
    ],
  };
}

/** Serves the page; `scene` may be changed while it runs. */
export async function openStage(scene = {}) {
  if (!existsSync(join(DIST, "index.html"))) throw new Error("the page is not built: run `make ui`");
  const stage = { studio: studio(), whep: 201, retryAfter: "20", offers: [], down: false, ...scene };
  const server = createServer((request, response) => answer(stage, request, response));
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  stage.url = `http://127.0.0.1:${server.address().port}/`;
  stage.close = () => {
    server.closeAllConnections?.();
    return new Promise((resolve) => server.close(resolve));
  };
  return stage;
}

function answer(stage, request, response) {
  const { pathname, searchParams } = new URL(request.url, "http://stage/");
  const send = (status, headers, body) => response.writeHead(status, headers).end(body);
  if (pathname === "/api/studio") {
    if (stage.down) return request.socket.destroy();
    return send(200, { "content-type": "application/json" }, JSON.stringify(stage.studio));
  }
  if (pathname === "/whep" || pathname.startsWith("/whep/")) {
    if (stage.down) return request.socket.destroy();
    if (request.method !== "POST") return send(200, {}, "");
    const feed = pathname.slice(6) || stage.studio.feeds[0]?.id;
    if (!stage.studio.feeds.some((f) => f.id === feed)) return send(404, {}, "");
    stage.offers.push({ feed, mode: searchParams.get("mode") });
    if (stage.whep !== 201) return send(stage.whep, { "retry-after": stage.retryAfter }, "");
    return send(201, { "content-type": "application/sdp", location: `/whep/${feed}/s1` }, "v=0\r\n");
  }
  const path = join(DIST, pathname === "/" ? "index.html" : pathname);
  if (!path.startsWith(DIST) || !existsSync(path)) return send(404, {}, "");
  const kind = KINDS[path.split(".").pop()];
  return send(200, { "content-type": kind, "content-security-policy": POLICY }, readFileSync(path));
}
