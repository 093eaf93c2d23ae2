// The suite's own test server, which is the origin of whoever is asked.
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

import { start, temporaryFolder } from "./process.js";

const package_ = createRequire(import.meta.url).resolve("http-cache-tests/package.json");

/** Starts it; its `port` and `stop()`. `show` shows what it says of single tests. */
export async function startOrigin({ show }) {
  const folder = temporaryFolder("origin");
  const running = start(process.execPath, ["--no-warnings", "server/server.mjs"], {
    folder,
    cwd: dirname(package_),
    // What npm would set from the suite's configuration.
    env: {
      npm_config_protocol: "http",
      npm_config_port: "0",
      npm_config_pidfile: join(folder, "pid"),
    },
    show,
  });
  const line = await running.firstLine();
  const port = Number(line.match(/:(\d+)\/?$/)?.[1]);
  if (!port) throw new Error(`no port in: ${line}`);
  return { port, stop: running.stop };
}
