// What is printed: the table of scores, lists of failures, and the judgement.

const KINDS = ["required", "optimal", "check"];

/** One row a cache and list of tests; `more` is what else is to be counted of a run. */
export function table(runs, more) {
  const rows = runs.flatMap((run) =>
    groups([...run.tests, ...more(run)]).map(([list, tests]) => [
      `${run.name} ${run.version}`,
      list,
      ...KINDS.map((kind) => score(tests.filter((test) => test.kind === kind))),
    ]),
  );
  const head = ["", "tests", ...KINDS];
  const widths = head.map((_, column) =>
    Math.max(...[head, ...rows].map((row) => row[column].length)),
  );
  console.log("");
  for (const row of [head, ...rows]) {
    console.log(
      row
        .map((cell, column) => cell.padEnd(widths[column]))
        .join("  ")
        .trimEnd(),
    );
  }
}

/** Every required and optimal test that was not passed. */
export function failures(run) {
  console.log(`\nnot passed by ${run.name} ${run.version}:`);
  const missed = run.tests.filter((test) => test.kind !== "check" && test.verdict !== "pass");
  for (const test of missed) console.log(line(test));
}

/** Says what differs from what is expected; whether nothing does. */
export function judgement(run, { failures, passed, unknown, known }, expected) {
  console.log("");
  for (const test of failures) console.log(`FAILED ${line(test)}`);
  for (const test of passed) {
    console.log(`FAILED ${test.id}: passes, and is in expected-failures.txt: remove it`);
  }
  for (const id of unknown) {
    console.log(`FAILED ${id}: is in expected-failures.txt, and there is no such test`);
  }
  for (const test of known) console.log(`known  ${test.id}: ${expected.get(test.id)}`);
  const failed = failures.length + passed.length + unknown.length;
  const good = run.tests.filter((test) => test.kind !== "check" && test.verdict === "pass");
  console.log(`\nknown to fail, with a reason each: ${known.length}`);
  console.log(`${good.length - passed.length} passed, ${failed} failed, 0 skipped`);
  return failed === 0;
}

function groups(tests) {
  const lists = new Map();
  for (const test of tests) lists.set(test.list, [...(lists.get(test.list) ?? []), test]);
  return [...lists];
}

function score(tests) {
  if (tests.length === 0) return "";
  const passed = tests.filter((test) => test.verdict === "pass").length;
  return `${passed} of ${tests.length}`;
}

function line(test) {
  const kind = `${test.kind}, ${test.suite}`;
  return `${test.id} (${kind}): ${test.verdict}: ${test.why || test.name}`;
}
