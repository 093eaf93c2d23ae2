// http-cache-tests against one cache: what came of every test, and how the suite's own
// results page would call that.
import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { determineTestResult } from "http-cache-tests/lib/display.mjs";

import { EXTRA, publicSuites } from "./suites.js";

/** The suite's words, by the sign that stands for each on the command line. */
const VERDICTS = {
  "✅": "pass",
  Y: "pass",
  "⛔️": "fail",
  "⚠️": "fail",
  N: "fail",
  "🔹": "setup failed",
  "⁉️": "harness failed",
  "⚪️": "dependency failed",
  "↻": "retried",
  "-": "not run",
};

/**
 * Runs the chosen tests against `url`. Returns one object a test: `id`, `suite`, `list`
 * (its row in the table), `kind`, `name`, `verdict` and `why`. Dependencies count only where all tests were run.
 */
export async function runPublic(url, { suites, ids }) {
  const chosen = publicSuites({ suites, ids });
  if (chosen.length === 0) return [];
  const results = await runEngine({ url, suites, ids });
  const all = suites.length === 0 && ids.length === 0;
  return chosen.flatMap((suite) =>
    suite.tests.map((test) => {
      const sign = determineTestResult(chosen, test.id, results, all)[2];
      const result = results[test.id];
      return {
        id: test.id,
        suite: suite.id,
        list: suite.id === EXTRA ? "  and Surrogate-Control" : "http-cache-tests",
        kind: test.kind ?? "required",
        name: test.name,
        verdict: VERDICTS[sign],
        why: Array.isArray(result) ? result[1] : "",
      };
    }),
  );
}

function runEngine(task) {
  const engine = fileURLToPath(new URL("engine.js", import.meta.url));
  return new Promise((resolve, reject) => {
    const child = fork(engine, [JSON.stringify(task)], { execArgv: ["--no-warnings"] });
    let results;
    child.once("message", (message) => {
      results = message;
    });
    child.once("error", reject);
    child.once("close", (code) => {
      if (results) resolve(results);
      else reject(new Error(`the suite ended with ${code} and no results`));
    });
  });
}
