// What a cache says of how it has handled a request.
import { equal, optimal, required, seconds } from "../lib/own.js";

const FIELD = "RFC 9211, section 2";

/** The last member of Cache-Status: what the cache that is asked says, as parameters. */
function said(reply) {
  const member = reply.fields["cache-status"]?.split(",").at(-1) ?? "";
  const [, ...parameters] = member.split(";").map((text) => text.trim());
  return Object.fromEntries(
    parameters.map((text) => [text.split("=")[0], text.split("=")[1] ?? true]),
  );
}

const fresh = { "cache-control": "max-age=60" };

export default {
  suite: "cache-status",
  tests: [
    optimal("status-miss", FIELD, "a miss is told, and that it was stored", async (site) => {
      const { fwd, stored, hit } = said(await site.ask({ origin: { fields: fresh } }));
      equal(fwd, "uri-miss", "fwd");
      equal(stored, true, "stored");
      equal(hit, undefined, "hit");
    }),
    optimal("status-hit", FIELD, "a hit is told", async (site) => {
      await site.ask({ origin: { fields: fresh } });
      const { fwd, hit } = said(await site.ask());
      equal(hit, true, "hit");
      equal(fwd, undefined, "fwd");
    }),
    optimal("status-vary-miss", FIELD, "a variant that is missing is told", async (site) => {
      const origin = { fields: { ...fresh, vary: "x-own" } };
      await site.ask({ fields: { "x-own": "1" }, origin });
      equal(said(await site.ask({ fields: { "x-own": "2" } })).fwd, "vary-miss", "fwd");
    }),
    optimal(
      "status-stale",
      FIELD,
      "a validation is told, with the origin's status",
      async (site) => {
        await site.ask({ origin: { fields: { "cache-control": "max-age=1", etag: '"a"' } } });
        await seconds(2.5);
        const reply = await site.ask({
          origin: { status: 304, fields: { etag: '"a"', ...fresh } },
        });
        equal(said(reply).fwd, "stale", "fwd");
        equal(said(reply)["fwd-status"], "304", "fwd-status");
      },
    ),
    optimal(
      "status-request",
      FIELD,
      "a request that will have nothing stored is told",
      async (site) => {
        await site.ask({ origin: { fields: fresh } });
        const reply = await site.ask({ fields: { "cache-control": "no-cache" } });
        equal(said(reply).fwd, "request", "fwd");
      },
    ),
    optimal(
      "status-method",
      FIELD,
      "a method that is never answered from a cache is told",
      async (site) => {
        const reply = await site.ask({ method: "POST", body: "x" });
        equal(said(reply).fwd, "method", "fwd");
      },
    ),
    required(
      "status-appends",
      FIELD,
      "what caches before say stays, and comes first",
      async (site) => {
        const reply = await site.ask({
          origin: { fields: { ...fresh, "cache-status": "before; hit" } },
        });
        const members = (reply.fields["cache-status"] ?? "").split(",").map((text) => text.trim());
        equal(members[0].split(";")[0], "before", "first cache");
        equal(said(reply).hit, undefined, "hit of the last one");
      },
    ),
  ],
};
