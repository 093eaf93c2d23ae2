// The caches that are asked: each is started in front of an origin and gives its URL.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { userInfo } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { freePort, start, temporaryFolder, version } from "./process.js";

/** By name; the first is the one that is judged. */
export const SUBJECTS = {
  tidegate: { start: tidegate, version: () => version(program("tidegate"), "--version") },
  nginx: { start: nginx, version: () => version("/usr/sbin/nginx", "-v") },
  varnish: { start: varnish, version: () => version("/usr/sbin/varnishd", "-V") },
};

/** The one whose failures are failures of the run. */
export const JUDGED = "tidegate";

/** As a user starts it. */
async function tidegate(originPort) {
  const folder = temporaryFolder("tidegate");
  const ports = ["--listen", "--grpc-listen", "--admin-listen"];
  const words = ports.flatMap((flag) => [flag, "127.0.0.1:0"]);
  const origin = `http://127.0.0.1:${originPort}`;
  const running = start(program("tidegate"), ["dev", "--origin", origin, ...words], { folder });
  const line = await running.firstLine();
  const url = line.match(/\bedge=(\S+)/)?.[1];
  if (url === undefined) throw new Error(`no ready line, but: ${line}`);
  return { url, stop: running.stop };
}

async function nginx(originPort) {
  const folder = temporaryFolder("nginx");
  const port = await freePort();
  // The worker must own its folders; started by root it would become another user.
  const user = userInfo().uid === 0 ? "user root;" : "";
  const file = configuration("nginx.conf", folder, { port, originPort, user });
  const words = ["-p", folder, "-c", file, "-e", "stderr"];
  const running = start("/usr/sbin/nginx", words, { folder });
  await running.listensOn(port);
  return { url: `http://127.0.0.1:${port}`, stop: running.stop };
}

async function varnish(originPort) {
  const folder = temporaryFolder("varnish");
  const port = await freePort();
  const file = configuration("varnish.vcl", folder, { originPort });
  const words = ["-F", "-j", "none", "-a", `127.0.0.1:${port}`, "-f", file];
  words.push("-n", join(folder, "work"), "-s", "malloc,64M", ...varnishParameters());
  const running = start("/usr/sbin/varnishd", words, { folder });
  await running.listensOn(port);
  return { url: `http://127.0.0.1:${port}`, stop: running.stop };
}

/** Parameters are no part of a VCL file: they are in its comments, as `-p name=value`. */
function varnishParameters() {
  const text = readFileSync(peer("varnish.vcl"), "utf8");
  return [...text.matchAll(/^# (-p) (\S+=\S+)$/gm)].flatMap(([, flag, value]) => [flag, value]);
}

/** Fills `@NAME@` in a file of `peers/` and writes it where the peer reads it. */
function configuration(name, folder, values) {
  const text = readFileSync(peer(name), "utf8").replace(/@(\w+)@/g, (_, key) => values[key]);
  const file = join(folder, name);
  writeFileSync(file, text);
  return file;
}

function peer(name) {
  return fileURLToPath(new URL(`../peers/${name}`, import.meta.url));
}

function program(name) {
  const path = join(process.env.TIDEGATE_BIN_DIR ?? "", name);
  if (!existsSync(path)) throw new Error(`there is no ${path}: set TIDEGATE_BIN_DIR`);
  return path;
}
