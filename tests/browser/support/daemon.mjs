// The daemon itself, on the demo line, on ports of its own.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
const MOSQUITTO = ["/usr/sbin/mosquitto", "/usr/bin/mosquitto"];
const START_MS = 30_000;

/**
 * Runs `floorcast demo` with a broker of its own; resolves when it is on air.
 * `edit` changes the demo's configuration, as text.
 */
export async function openDaemon({ args = ["--strip"], edit = (text) => text, binary } = {}) {
  const program = binary ?? process.env.FLOORCAST ?? join(ROOT, "target/debug/floorcast");
  assert.ok(existsSync(program), `${program} is missing: cargo build`);
  const dir = mkdtempSync(join(tmpdir(), "floorcast-demo-"));
  const children = [];
  // The line says goodbye to its broker, so the broker goes last.
  const close = async () => {
    for (const { child, ended } of children.reverse()) {
      child.kill("SIGTERM");
      await ended;
    }
    rmSync(dir, { recursive: true, force: true });
  };
  const start = (command, parameters) => {
    const child = spawn(command, parameters, {
      cwd: ROOT, stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, NO_COLOR: "1" },
    });
    const ended = new Promise((resolve) => child.once("exit", resolve));
    children.push({ child, ended });
    return { child, ended };
  };
  let log = "";
  try {
    const [plc, broker] = [await freePort(), await freePort()];
    const mosquitto = MOSQUITTO.find(existsSync);
    assert.ok(mosquitto, "mosquitto is missing: apt-get install mosquitto");
    const rules = `listener ${broker} 127.0.0.1\nallow_anonymous true\npersistence false\n`;
    writeFileSync(join(dir, "mosquitto.conf"), rules);
    start(mosquitto, ["-c", join(dir, "mosquitto.conf")]);
    await accepts(broker);
    const config = join(dir, "demo.toml");
    writeFileSync(config, edit(onPorts(readFileSync(join(ROOT, "configs/demo.toml"), "utf8"), plc, broker)));
    const line = start(program, ["demo", "--config", config, ...args]);
    line.child.stderr.on("data", (bytes) => (log = (log + bytes).slice(-20_000)));
    const url = await onAir(line.child, line.ended);
    return { url, close, pid: line.child.pid, log: () => log };
  } catch (error) {
    await close();
    throw new Error(`${error.message}\n${log}`);
  }
}

/** The demo on ports that nobody else has. */
function onPorts(text, plc, broker) {
  assert.doesNotMatch(text, /^\[(web|metrics)\]/m, "the demo names its listeners now: change them here");
  const listeners = '[web]\nlisten = "0.0.0.0:0"\nmedia = "0.0.0.0:0"\n[metrics]\nlisten = "127.0.0.1:0"\n\n';
  const moved = text.replace("127.0.0.1:15020", `127.0.0.1:${plc}`).replace("127.0.0.1:18830", `127.0.0.1:${broker}`);
  return moved.replace(/^\[studio\]/m, `${listeners}[studio]`);
}

function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer().once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** Waits until something listens on a port. */
async function accepts(port) {
  const deadline = Date.now() + START_MS;
  for (;;) {
    const open = await new Promise((resolve) => {
      const socket = connect(port, "127.0.0.1");
      socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
      socket.once("connect", () => socket.destroy());
    });
    if (open) return;
    assert.ok(Date.now() < deadline, `nothing listens on port ${port} after ${START_MS} ms`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
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
