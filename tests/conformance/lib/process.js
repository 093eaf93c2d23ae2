// Starts programs, reads what they say at the start, and ends them.
import { execFile, spawn } from "node:child_process";
import { mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

/** Milliseconds; only a start that fails takes this long. */
const PATIENCE = 30_000;

/** Milliseconds between two looks at a port. */
const LOOK = 20;

/** What has to be ended and removed with this process, whatever ends it. */
const leftovers = new Set();
process.once("exit", () => [...leftovers].reverse().forEach((remove) => remove()));
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(1));

/** A folder that goes with this process. */
export function temporaryFolder(name) {
  const folder = mkdtempSync(join(tmpdir(), `tidegate-conformance-${name}-`));
  leftovers.add(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/**
 * Starts a program. Returns `firstLine()`, `listensOn(port)`, which resolves once it
 * does, and `stop()`. `show` shows what it prints on stdout from its second line on.
 */
export function start(program, words, { folder, env = {}, cwd, show = false }) {
  const log = join(folder, "log");
  const child = spawn(program, words, {
    stdio: ["ignore", "pipe", openSync(log, "w")],
    env: { ...process.env, ...env },
    cwd,
    detached: true,
  });
  let text = "";
  let ended = false;
  child.stdout.setEncoding("utf8");
  const isUp = new Promise((resolve) => {
    child.stdout.on("data", (chunk) => {
      if (text.includes("\n")) {
        if (show) process.stdout.write(chunk);
        return;
      }
      text += chunk;
      if (text.includes("\n")) resolve();
    });
    child.once("error", (error) => {
      text = error.message;
      ended = true;
      resolve();
    });
    child.once("close", () => {
      ended = true;
      resolve();
    });
  });
  const stop = () => {
    if (ended || child.pid === undefined) return;
    ended = true;
    process.kill(-child.pid, "SIGKILL");
  };
  leftovers.add(stop);
  const problem = (what) => new Error(`${program} ${what}: ${text}\n${readFileSync(log)}`);
  return {
    async firstLine() {
      await Promise.race([isUp, sleep(PATIENCE)]);
      if (ended || !text.includes("\n")) throw problem("said nothing");
      return text.slice(0, text.indexOf("\n"));
    },
    async listensOn(port) {
      for (let waited = 0; waited < PATIENCE; waited += LOOK) {
        if (await answers(port)) return;
        if (ended) throw problem("ended");
        await sleep(LOOK);
      }
      throw problem(`does not listen on port ${port}`);
    },
    stop,
  };
}

/** A port that nobody uses at this moment. */
export async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** The first version number that a program prints about itself. */
export async function version(program, flag) {
  const { stdout, stderr } = await promisify(execFile)(program, [flag]);
  return (stdout + stderr).match(/\d+\.\d+\.\d+/)?.[0] ?? "?";
}

function answers(port) {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

function sleep(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds).unref());
}
