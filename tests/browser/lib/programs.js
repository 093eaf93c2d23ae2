// Starts the programs on free ports, calls the command line, and ends them.
import { execFile, spawn } from "node:child_process";
import { existsSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

/** Milliseconds; only a test that fails waits this long. */
export const PATIENCE = 30_000;

const run = promisify(execFile);

function program(name) {
  const folder = process.env.TIDEGATE_BIN_DIR;
  const path = join(folder ?? "", name);
  if (!folder || !existsSync(path)) {
    throw new Error(`set TIDEGATE_BIN_DIR to the folder with the built programs: no ${path}`);
  }
  return path;
}

/** Runs a `tidegate` command against a control plane; what it printed. */
export async function tidegate(grpc, ...command) {
  const done = await run(program("tidegate"), ["--control", grpc, ...command], {
    timeout: PATIENCE,
  });
  return done.stdout;
}

/**
 * Starts a program and waits for its ready line. Returns the addresses of that line by
 * their names, a `folder` of its own, and `stop()`.
 */
export async function start(name, words) {
  const folder = mkdtempSync(join(tmpdir(), "tidegate-browser-"));
  const log = join(folder, "log");
  const child = spawn(program(name), words(folder), {
    stdio: ["ignore", "pipe", openSync(log, "w")],
    detached: true,
  });
  const stop = () => {
    if (child.exitCode === null && child.signalCode === null) process.kill(-child.pid, "SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  };
  // A test runner that is ended leaves nothing behind.
  process.once("exit", stop);
  try {
    const [word, ...fields] = (await firstLine(child)).split(" ");
    if (word !== "ready") throw new Error(`no ready line; its log:\n${readFileSync(log)}`);
    const addresses = Object.fromEntries(fields.map((field) => field.split("=")));
    return { ...addresses, folder, stop };
  } catch (error) {
    stop();
    throw error;
  }
}

const ports = (...flags) => flags.flatMap((flag) => [flag, "127.0.0.1:0"]);

/**
 * Starts `tidegate dev` with more arguments. Returns the addresses `edge`, `grpc` and
 * `admin`; `tidegate(...words)`, which runs a command against it; and `stop()`.
 */
export async function startDev(...words) {
  const all = ["dev", ...words, ...ports("--listen", "--grpc-listen", "--admin-listen")];
  const dev = await start("tidegate", () => all);
  return { ...dev, tidegate: (...command) => tidegate(dev.grpc, ...command) };
}

/** Starts a control plane of its own. */
export function startControlPlane() {
  return start("tidegate-control-plane", (folder) => [
    ...ports("--grpc-listen", "--admin-listen"),
    "--new-fleet",
    "--data",
    join(folder, "data"),
  ]);
}

/** Starts an edge of a control plane. */
export function startEdge(grpc, name) {
  return start("tidegate-edge", (folder) => [
    ...ports("--listen", "--admin-listen"),
    ...["--control", grpc, "--edge-id", name, "--cache-dir", join(folder, "cache")],
  ]);
}

function firstLine(child) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("no ready line in time")), PATIENCE);
    let text = "";
    child.stdout.setEncoding("utf8");
    child.stdout.on("data", (chunk) => {
      text += chunk;
      if (text.includes("\n")) {
        clearTimeout(timer);
        resolve(text.slice(0, text.indexOf("\n")));
      }
    });
    child.once("error", reject);
    child.once("close", () => {
      clearTimeout(timer);
      resolve(text);
    });
  });
}
