// Starts origins and caches, runs the tests, prints the scores and judges Tidegate's.
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { HELP, UsageError, parse } from "./arguments.js";
import { current } from "./current.js";
import { compare, readExpected } from "./expected.js";
import { startOrigin } from "./origin.js";
import { Origin, ownTests, runOwn } from "./own.js";
import { runPublic } from "./public.js";
import * as report from "./report.js";
import { JUDGED, SUBJECTS } from "./subjects.js";

const EXPECTED = fileURLToPath(new URL("../expected-failures.txt", import.meta.url));

async function main(words) {
  const options = parse(words);
  if (options.help) {
    console.log(HELP);
    return 0;
  }
  const expected = readExpected(EXPECTED);
  const runs = [];
  // One after the other: each has the machine for itself.
  for (const name of options.subjects) runs.push(await run(name, options));
  if (runs[0].tests.length === 0) throw new UsageError("no test has this id or is of this suite");
  if (options.json) writeFileSync(options.json, `${JSON.stringify(runs, null, 2)}\n`);
  const isWhole = options.suites.length === 0 && options.ids.length === 0;
  // Its tests depend on each other, which is not counted here: of the edge all of them hold.
  report.table(runs, (run) => (isWhole && run.name === JUDGED ? current(run.tests) : []));
  if (options.failures) runs.forEach(report.failures);
  const judged = runs.find((run) => run.name === JUDGED);
  if (!judged) return 0;
  const difference = compare(judged.tests, expected, { isWhole });
  return report.judgement(judged, difference, expected) ? 0 : 1;
}

async function run(name, options) {
  const subject = SUBJECTS[name];
  const version = await subject.version();
  const begun = Date.now();
  const tests = [
    ...(await behind(subject, await startOrigin({ show: options.ids.length === 1 }), (url) =>
      runPublic(url, options),
    )),
    ...(await runOwnBehind(subject, options)),
  ];
  return { name, version, seconds: (Date.now() - begun) / 1000, tests };
}

async function runOwnBehind(subject, options) {
  const tests = await ownTests(options);
  if (tests.length === 0) return [];
  const origin = await Origin.start();
  return behind(subject, origin, (url) => runOwn(url, origin, tests, options));
}

/** Starts the cache in front of the origin, runs, and ends both. */
async function behind(subject, origin, run) {
  const cache = await subject.start(origin.port);
  try {
    return await run(cache.url);
  } finally {
    cache.stop();
    origin.stop();
  }
}

try {
  process.exit(await main(process.argv.slice(2)));
} catch (error) {
  if (!(error instanceof UsageError)) throw error;
  console.error(`${error.message}\n\n${HELP}`);
  process.exit(2);
}
