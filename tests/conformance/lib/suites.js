// The tests of http-cache-tests: which there are and which are wanted.
import index from "http-cache-tests/tests/index.mjs";
import surrogate from "http-cache-tests/tests/surrogate-control.mjs";

/**
 * The suites with the tests that a cache without a browser can run. The suite's own index
 * leaves `Surrogate-Control` out, and so do its totals.
 */
export function publicSuites({ suites = [], ids = [] } = {}) {
  return [...index, surrogate]
    .filter((suite) => suites.length === 0 || suites.includes(suite.id))
    .map((suite) => ({
      ...suite,
      tests: suite.tests.filter(
        (test) => test.browser_only !== true && (ids.length === 0 || ids.includes(test.id)),
      ),
    }))
    .filter((suite) => suite.tests.length > 0);
}

/** The id of the suite that is beside the index. */
export const EXTRA = surrogate.id;
