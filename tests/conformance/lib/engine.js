// Runs the tests of http-cache-tests against one cache, in a process of its own: the
// suite keeps its results in variables of its modules. The results go to the parent.
import fetch from "node-fetch";
import { getResults, runTests } from "http-cache-tests/client/runner.mjs";

import { publicSuites } from "./suites.js";

const { url, suites, ids } = JSON.parse(process.argv[2]);

const chosen = publicSuites({ suites, ids });
if (ids.length === 1) {
  for (const suite of chosen) for (const test of suite.tests) test.dump = true;
}
await runTests(chosen, fetch, false, url);
process.send(getResults());
