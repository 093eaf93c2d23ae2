// What changes what is stored: 304, HEAD, unsafe methods, groups.
import { asked, equal, optimal, required, seconds, stored } from "../lib/own.js";

const VALIDATED = "RFC 9111, section 4.3.4";
const HEADED = "RFC 9111, section 4.3.5";
const UNSAFE = "RFC 9111, section 4.4";
const GROUPS = "RFC 9875, section 2";
const INVALIDATED = "RFC 9875, section 3";

const fresh = { "cache-control": "max-age=60" };
const short = { "cache-control": "max-age=1", etag: '"a"' };

/** Stored, stale, then validated with these fields. */
const validated = (fields, verdict) => async (site) => {
  await site.ask({ origin: { fields: { ...short, "x-own": "1" } } });
  await seconds(2.5);
  const origin = { status: 304, fields: { etag: '"a"', ...fresh, ...fields } };
  for (const reply of [await site.ask({ origin }), await site.ask()]) {
    equal(reply.status, 200, "status");
    equal(reply.body, "answer 1", "body");
    verdict(reply);
  }
  equal(site.seen.length, 2, "number of requests at the origin");
};

/**
 * What is stored at one path, after something happened at another. Tests share an origin, so
 * each has groups of its own.
 */
const afterwards = (kept, request, verdict) => async (site) => {
  await site.ask({ path: "/kept", origin: { fields: { ...fresh, ...kept } } });
  stored(await site.ask({ path: "/kept" }));
  await site.ask({ path: "/changed", ...request(site) });
  verdict(await site.ask({ path: "/kept" }));
};

const post =
  (fields, status = 200) =>
  (site) => ({
    method: "POST",
    body: "x",
    origin: { status, fields: typeof fields === "function" ? fields(site) : fields },
  });

export default {
  suite: "update",
  tests: [
    required(
      "304-updates",
      VALIDATED,
      "fields of a 304 replace those that are stored",
      validated({ "x-own": "2" }, (reply) => equal(reply.fields["x-own"], "2", "x-own")),
    ),
    required(
      "304-keeps",
      VALIDATED,
      "fields that a 304 does not carry stay",
      validated({}, (reply) => equal(reply.fields["x-own"], "1", "x-own")),
    ),
    required(
      "304-length",
      "RFC 9111, section 3.2",
      "Content-Length of a 304 is not that of what is stored",
      validated({ "content-length": "3" }, (reply) => equal(reply.body, "answer 1", "body")),
    ),
    optimal(
      "head-freshens",
      HEADED,
      "a HEAD with the same validator makes what is stored fresh again",
      async (site) => {
        await site.ask({ origin: { fields: { ...short } } });
        await seconds(2.5);
        const fields = { etag: '"a"', ...fresh, "content-length": "8" };
        await site.ask({ method: "HEAD", origin: { fields } });
        stored(await site.ask());
      },
    ),
    ...[
      ["head-other-etag", "validator", { etag: '"b"' }],
      ["head-other-length", "length", { etag: '"a"', "content-length": "9" }],
    ].map(([id, what, fields]) =>
      optimal(
        id,
        HEADED,
        `after a HEAD with another ${what} what is stored is asked about`,
        async (site) => {
          const kept = { ...fresh, etag: '"a"' };
          await site.ask({ origin: { fields: kept } });
          const past = { "cache-control": "no-cache" };
          await site.ask({
            method: "HEAD",
            fields: past,
            origin: { fields: { ...fresh, ...fields } },
          });
          await site.ask({ origin: { fields: kept } });
          equal(site.seen.length, 3, "number of requests at the origin");
        },
      ),
    ),
    ...["POST", "PUT", "DELETE", "PATCH", "MKCOL"].map((method) =>
      required(
        `unsafe-${method}`,
        UNSAFE,
        `a ${method} invalidates what is stored at its URL`,
        async (site) => {
          await site.ask({ origin: { fields: fresh } });
          await site.ask({ method, body: "x", origin: { fields: {} } });
          asked(await site.ask());
        },
      ),
    ),
    ...[400, 500].map((status) =>
      optimal(
        `unsafe-${status}`,
        UNSAFE,
        `a POST that is answered with ${status} invalidates nothing`,
        async (site) => {
          await site.ask({ origin: { fields: fresh } });
          await site.ask({ method: "POST", body: "x", origin: { status } });
          stored(await site.ask());
        },
      ),
    ),
    optimal(
      "unsafe-location",
      UNSAFE,
      "a POST invalidates what is at its Location",
      afterwards(
        {},
        post((site) => ({ location: `/own/${site.name}/kept` }), 201),
        asked,
      ),
    ),
    required(
      "unsafe-other-host",
      UNSAFE,
      "a Location at another host invalidates nothing here",
      afterwards(
        {},
        post((site) => ({ location: `http://other.example/own/${site.name}/kept` }), 201),
        stored,
      ),
    ),
    optimal(
      "group-invalidation",
      INVALIDATED,
      "an unsafe request invalidates the groups that its answer names",
      afterwards(
        { "cache-groups": '"first", "second"' },
        post({ "cache-group-invalidation": '"second"' }),
        asked,
      ),
    ),
    required(
      "group-other",
      INVALIDATED,
      "other groups stay",
      afterwards(
        { "cache-groups": '"this"' },
        post({ "cache-group-invalidation": '"that"' }),
        stored,
      ),
    ),
    required(
      "group-case",
      GROUPS,
      "groups are compared with case",
      afterwards(
        { "cache-groups": '"case"' },
        post({ "cache-group-invalidation": '"CASE"' }),
        stored,
      ),
    ),
    required(
      "group-safe-method",
      INVALIDATED,
      "the answer to a safe request invalidates no group",
      afterwards(
        { "cache-groups": '"safe"' },
        () => ({ origin: { fields: { "cache-group-invalidation": '"safe"' } } }),
        stored,
      ),
    ),
    required(
      "group-malformed",
      GROUPS,
      "groups that are no list of strings are none",
      afterwards({ "cache-groups": "token" }, post({ "cache-group-invalidation": '"token"' }), stored),
    ),
  ],
};
