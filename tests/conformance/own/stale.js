// What may be done with a response after it has turned stale, and for how long.
import { asked, equal, optimal, required, seconds, stored } from "../lib/own.js";

const BREAKS_OFF = { breaksOff: true };
const FAILS = { status: 503, body: "failed" };

const first = (control) => ({ fields: { "cache-control": control, etag: '"1"' } });

/** After a first answer has turned stale, the origin does something else. */
const then =
  (control, origin, verdict, wait = 2.5) =>
  async (site) => {
    await site.ask({ origin: first(control) });
    await seconds(wait);
    verdict(await site.ask({ origin }));
  };

const passed = (status) => (reply) => {
  asked(reply);
  equal(reply.status, status, "status");
};

/** Something, but not what is stored. */
const refused = (reply) => {
  if (reply.body === "answer 1") throw new Error("the stale response was used");
};

export default {
  suite: "stale-use",
  tests: [
    optimal(
      "swr-serves",
      "RFC 5861, section 3",
      "within stale-while-revalidate the stale response is served",
      then("max-age=1, stale-while-revalidate=60", first("max-age=60"), stored),
    ),
    optimal(
      "swr-refreshes",
      "RFC 5861, section 3",
      "what is served stale is refreshed meanwhile",
      async (site) => {
        await site.ask({
          origin: { fields: { "cache-control": "max-age=1, stale-while-revalidate=60" } },
        });
        await seconds(2.5);
        stored(await site.ask({ origin: { fields: { "cache-control": "max-age=60" } } }));
        await seconds(1);
        equal((await site.ask()).body, "answer 2", "body");
      },
    ),
    required(
      "swr-refreshed-no-cache",
      "RFC 9111, section 5.2.2.4",
      "what a refresh has brought is not used unasked if it says so",
      async (site) => {
        await site.ask({ origin: first("max-age=1, stale-while-revalidate=60") });
        await seconds(2.5);
        const origin = { fields: { "cache-control": "no-cache", etag: '"2"' } };
        stored(await site.ask({ origin }));
        await seconds(1);
        equal((await site.ask()).body, "answer 3", "body");
      },
    ),
    required(
      "swr-ends",
      "RFC 5861, section 3",
      "after stale-while-revalidate the origin's answer is waited for",
      then("max-age=1, stale-while-revalidate=1", { body: "new" }, asked, 3.5),
    ),
    required(
      "swr-must-revalidate",
      "RFC 9111, section 5.2.2.2",
      "must-revalidate forbids what stale-while-revalidate allows",
      then("max-age=1, must-revalidate, stale-while-revalidate=60", { body: "new" }, asked),
    ),
    required(
      "swr-no-cache",
      "RFC 9111, section 5.2.2.4",
      "no-cache forbids what stale-while-revalidate allows",
      then("max-age=1, no-cache, stale-while-revalidate=60", { body: "new" }, asked),
    ),
    optimal(
      "sie-503",
      "RFC 5861, section 4",
      "within stale-if-error the stale response is served instead of a 503",
      then("max-age=1, stale-if-error=60", FAILS, stored),
    ),
    optimal(
      "sie-breaks-off",
      "RFC 5861, section 4",
      "within stale-if-error the stale response is served when the origin breaks off",
      then("max-age=1, stale-if-error=60", BREAKS_OFF, stored),
    ),
    required(
      "sie-ends",
      "RFC 5861, section 4",
      "after stale-if-error an error is passed on",
      then("max-age=1, stale-if-error=1", FAILS, passed(503), 3.5),
    ),
    required(
      "sie-404",
      "RFC 5861, section 4",
      "an answer that something is not there is no error",
      then("max-age=1, stale-if-error=60", { status: 404, body: "gone" }, passed(404)),
    ),
    ...["must-revalidate", "proxy-revalidate", "no-cache"].map((directive) =>
      required(
        `sie-${directive}`,
        "RFC 9111, section 4.2.4",
        `${directive} forbids what stale-if-error allows`,
        then(`max-age=1, ${directive}, stale-if-error=60`, BREAKS_OFF, refused),
      ),
    ),
    optimal(
      "stale-when-disconnected",
      "RFC 9111, section 4.2.4",
      "what nothing forbids is served stale when the origin cannot be asked",
      then("max-age=1", BREAKS_OFF, stored),
    ),
    ...["must-revalidate", "proxy-revalidate", "no-cache", "s-maxage=1"].map((directive) =>
      required(
        `stale-${directive.split("=")[0]}-when-disconnected`,
        "RFC 9111, section 4.2.4",
        `${directive} forbids a stale response when the origin cannot be asked`,
        then(`max-age=1, ${directive}`, BREAKS_OFF, refused),
      ),
    ),
    required(
      "must-revalidate-504",
      "RFC 9111, section 5.2.2.2",
      "a response that must be revalidated and cannot be is an error of the gateway",
      then("max-age=1, must-revalidate", BREAKS_OFF, (reply) => {
        if (reply.status !== 504 && reply.status !== 502)
          throw new Error(`status is ${reply.status}`);
      }),
    ),
  ],
};
