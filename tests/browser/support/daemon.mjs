// The daemon itself, on the demo line, on ports of its own.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
const START_MS = 30_000;

/**
 * Runs `floorcast demo` and resolves when it is on air.
 * `edit` changes the demo's configuration, as text.
 */
export async function openDaemon({ args = ["--strip"], edit = (text) => text, binary } = {}) {
  const program = binary ?? process.env.FLOORCAST ?? join(ROOT, "target/debug/floorcast");
  assert.ok(existsSync(program), `${program} is missing: cargo build`);
  const dir = mkdtempSync(join(tmpdir(), "floorcast-demo-"));
  const config = join(dir, "demo.toml");
  writeFileSync(config, edit(freePorts(readFileSync(join(ROOT, "configs/demo.toml"), "utf8"))));
  const child = spawn(program, ["demo", "--config", config, ...args], {
    cwd: ROOT, stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, NO_COLOR: "1" },
  });
  let log = "";
  child.stderr.on("data", (bytes) => (log = (log + bytes).slice(-20_000)));
  const ended = new Promise((resolve) => child.once("exit", resolve));
  const close = async () => {
    child.kill("SIGTERM");
    await ended;
    rmSync(dir, { recursive: true, force: true });
  };
  try {
    const url = await onAir(child, ended);
    return { url, close, pid: child.pid, log: () => log };
  } catch (error) {
    await close();
    throw new Error(`${error.message}\n${log}`);
  }
}

/** The demo's listeners with ports that the system picks. */
function freePorts(text) {
  return text.replace(/^(\s*(?:listen|media)\s*=\s*"[^"]*:)\d+"/gm, '$10"');
}

function onAir(child, ended) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`not on air after ${START_MS} ms`)), START_MS);
    void ended.then((code) => reject(new Error(`the daemon ended with ${code}`)));
    let out = "";
    child.stdout.on("data", (bytes) => {
      out += bytes;
      const found = /^on air: (\S+)/m.exec(out);
      if (!found) return;
      clearTimeout(timer);
      resolve(found[1]);
    });
  });
}
