// Starts `tidegate dev` on free ports, calls its command line, and ends it.
import { execFile, spawn } from "node:child_process";
import { existsSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

/** Milliseconds; only a test that fails waits this long. */
export const PATIENCE = 30_000;

const run = promisify(execFile);

function program() {
  const folder = process.env.TIDEGATE_BIN_DIR;
  const path = join(folder ?? "", "tidegate");
  if (!folder || !existsSync(path)) {
    throw new Error(`set TIDEGATE_BIN_DIR to the folder with the built programs: no ${path}`);
  }
  return path;
}

/**
 * Starts `tidegate dev` with more arguments, and waits for its ready line.
 *
 * Returns the addresses `edge`, `grpc` and `admin`; `tidegate(...words)`, which runs a
 * command against it and returns what it printed; and `stop()`.
 */
export async function startDev(...words) {
  const folder = mkdtempSync(join(tmpdir(), "tidegate-browser-"));
  const log = join(folder, "log");
  const ports = ["--listen", "--grpc-listen", "--admin-listen"];
  const child = spawn(
    program(),
    ["dev", ...words, ...ports.flatMap((flag) => [flag, "127.0.0.1:0"])],
    { stdio: ["ignore", "pipe", openSync(log, "w")], detached: true },
  );
  const stop = () => {
    if (child.exitCode === null && child.signalCode === null) process.kill(-child.pid, "SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  };
  // A test runner that is ended leaves nothing behind.
  process.once("exit", stop);
  try {
    const line = await firstLine(child);
    const ready = /^ready edge=(\S+) grpc=(\S+) admin=(\S+)$/.exec(line);
    if (!ready) throw new Error(`no ready line but \`${line}\`; its log:\n${readFileSync(log)}`);
    const [, edge, grpc, admin] = ready;
    const tidegate = async (...command) => {
      const done = await run(program(), ["--control", grpc, ...command], { timeout: PATIENCE });
      return done.stdout;
    };
    return { edge, grpc, admin, tidegate, stop };
  } catch (error) {
    stop();
    throw error;
  }
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
