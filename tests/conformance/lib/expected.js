// The list of failures that are known, and how a run compares with it.
import { readFileSync } from "node:fs";

/** Reads lines of an id, spaces and a reason; `#` begins a comment. A map of both. */
export function readExpected(path) {
  const expected = new Map();
  for (const [index, line] of readFileSync(path, "utf8").split("\n").entries()) {
    if (line.trim() === "" || line.startsWith("#")) continue;
    const [, id, reason] = line.match(/^(\S+)\s+(\S.*)$/) ?? [];
    if (id === undefined) throw new Error(`${path}:${index + 1}: no reason is given`);
    if (expected.has(id)) throw new Error(`${path}:${index + 1}: ${id} is there twice`);
    expected.set(id, reason);
  }
  return expected;
}

/**
 * What must not be: `failures` that nobody expects, `passed` in spite of the list, and
 * ids of the list that are of no test (`unknown`). Checks can neither pass nor fail; they
 * tell how a cache behaves where it is free.
 */
export function compare(tests, expected, { isWhole }) {
  const judged = tests.filter((test) => test.kind !== "check");
  const ids = new Set(judged.map((test) => test.id));
  return {
    failures: judged.filter((test) => test.verdict !== "pass" && !expected.has(test.id)),
    passed: judged.filter((test) => test.verdict === "pass" && expected.has(test.id)),
    unknown: isWhole ? [...expected.keys()].filter((id) => !ids.has(id)) : [],
    known: judged.filter((test) => test.verdict !== "pass" && expected.has(test.id)),
  };
}
