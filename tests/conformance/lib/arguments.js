// What the command line asks for.
import { parseArgs } from "node:util";

import { SUBJECTS } from "./subjects.js";

const names = Object.keys(SUBJECTS);

export const HELP = `\
Usage: tests/conformance/run [OPTION...]

Runs the public http-cache-tests and Tidegate's own tests of the same kind against an
edge as \`tidegate dev --origin URL\` starts it, and prints what it passed.

  --peers           also nginx and Varnish: their results are shown, not judged
  --subject NAME    this one alone: ${names.join(", ")}
  --suite NAME      only the suites with this id, such as vary (repeatable)
  --id TEST         only the tests with this id (repeatable); one alone: with every request
                    and response as client and origin saw them
  --json FILE       writes every result there
  --failures        lists what was not passed also where it is expected, and for peers
  --help            this text

Exit codes: 0 as expected, 1 another failure than those in expected-failures.txt or one of
those that is none any more, 2 usage.`;

/** An error of whoever called. */
export class UsageError extends Error {}

/**
 * Reads the arguments. Returns `help`, or `subjects` (names), `suites` and `ids` (empty:
 * all), `json` (a path) and `failures`.
 */
export function parse(words) {
  let values;
  try {
    ({ values } = parseArgs({
      args: words,
      options: {
        peers: { type: "boolean", default: false },
        subject: { type: "string" },
        suite: { type: "string", multiple: true, default: [] },
        id: { type: "string", multiple: true, default: [] },
        json: { type: "string" },
        failures: { type: "boolean", default: false },
        help: { type: "boolean", default: false },
      },
    }));
  } catch (error) {
    throw new UsageError(error.message);
  }
  if (values.subject !== undefined && !names.includes(values.subject)) {
    throw new UsageError(`--subject: "${values.subject}"; allowed: ${names.join(", ")}`);
  }
  const chosen = values.subject ? [values.subject] : names.slice(0, 1);
  return {
    help: values.help,
    subjects: values.peers ? names : chosen,
    suites: values.suite,
    ids: values.id,
    json: values.json,
    failures: values.failures,
  };
}
