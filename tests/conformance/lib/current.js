// The current list of http-cache-tests, scored by the tests that ask the same here.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const LIST = fileURLToPath(new URL("../current-list.txt", import.meta.url));

/** Its row in the table. */
const ROW = "  its current list";

/**
 * What came of each test of the current list: as `runPublic`, from the results of all
 * tests that were run.
 */
export function current(tests) {
  const results = new Map(tests.map((test) => [test.id, test]));
  return readList(LIST).map(({ kind, id, standsFor }) => {
    const result = results.get(standsFor);
    if (result === undefined) throw new Error(`${LIST}: there is no test ${standsFor}`);
    return { ...result, id, kind, list: ROW };
  });
}

/** Reads lines of a kind, an id and, where that is another one, the id of the test here. */
function readList(path) {
  return readFileSync(path, "utf8")
    .split("\n")
    .filter((line) => line.trim() !== "" && !line.startsWith("#"))
    .map((line) => {
      const [kind, id, standsFor = id] = line.trim().split(/\s+/);
      return { kind, id, standsFor };
    });
}
