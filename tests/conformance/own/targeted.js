// CDN-Cache-Control: what an origin says to shared caches in front of it alone.
import { asked, check, equal, optimal, required, seconds, stored } from "../lib/own.js";

const RULES = "RFC 9213, section 2.2";
const SYNTAX = "RFC 9213, section 2.1";

/** The first answer carries these fields; the second request is what is looked at. */
const again =
  (fields, verdict, wait = 0) =>
  async (site) => {
    await site.ask({ origin: { fields } });
    await seconds(wait);
    verdict(await site.ask());
  };

export default {
  suite: "targeted",
  tests: [
    optimal(
      "targeted-max-age",
      RULES,
      "a targeted max-age alone makes a response fresh",
      again({ "cdn-cache-control": "max-age=60" }, stored),
    ),
    required(
      "targeted-replaces-no-store",
      RULES,
      "with a targeted field Cache-Control is not looked at, and may say no-store",
      again({ "cache-control": "no-store", "cdn-cache-control": "max-age=60" }, stored),
    ),
    required(
      "targeted-replaces-private",
      RULES,
      "with a targeted field Cache-Control is not looked at, and may say private",
      again({ "cache-control": "private", "cdn-cache-control": "max-age=60" }, stored),
    ),
    required(
      "targeted-shorter",
      RULES,
      "a shorter targeted lifetime ends a longer one of Cache-Control",
      again({ "cache-control": "max-age=600", "cdn-cache-control": "max-age=1" }, asked, 2.5),
    ),
    optimal(
      "targeted-longer",
      RULES,
      "a longer targeted lifetime outlives a shorter one of Cache-Control",
      again({ "cache-control": "max-age=1", "cdn-cache-control": "max-age=600" }, stored, 2.5),
    ),
    required(
      "targeted-replaces-s-maxage",
      RULES,
      "a targeted lifetime counts, whatever s-maxage says",
      again({ "cache-control": "s-maxage=600", "cdn-cache-control": "max-age=1" }, asked, 2.5),
    ),
    optimal(
      "targeted-past-expires",
      RULES,
      "a targeted lifetime counts, although Expires is over",
      again(
        { expires: "Thu, 01 Jan 1998 00:00:00 GMT", "cdn-cache-control": "max-age=60" },
        stored,
      ),
    ),
    optimal(
      "targeted-invalid-expires",
      RULES,
      "a targeted lifetime counts, although Expires is no date",
      again({ expires: "0", "cdn-cache-control": "max-age=60" }, stored),
    ),
    required(
      "targeted-zero",
      RULES,
      "a targeted lifetime of zero is over at once",
      again({ "cdn-cache-control": "max-age=0" }, asked),
    ),
    required(
      "targeted-zero-future-expires",
      RULES,
      "a targeted lifetime of zero counts, although Expires is far off",
      again({ expires: "Fri, 01 Jan 2100 00:00:00 GMT", "cdn-cache-control": "max-age=0" }, asked),
    ),
    ...["no-store", "no-cache", "private"].map((directive) =>
      required(
        `targeted-${directive}`,
        RULES,
        `a targeted ${directive} holds, whatever Cache-Control allows`,
        again({ "cache-control": "max-age=60", "cdn-cache-control": directive }, asked),
      ),
    ),
    required(
      "targeted-age",
      RULES,
      "a response that is older than its targeted lifetime is stale",
      again({ age: "120", "cdn-cache-control": "max-age=60" }, asked),
    ),
    required(
      "targeted-for-others",
      RULES,
      "a field that targets another kind of cache says nothing here",
      again({ "cache-control": "no-store", "example-cache-control": "max-age=60" }, asked),
    ),
    required(
      "targeted-empty",
      RULES,
      "an empty targeted field is none: Cache-Control holds",
      again({ "cache-control": "no-store", "cdn-cache-control": "" }, asked),
    ),
    required(
      "targeted-malformed",
      SYNTAX,
      "a targeted field that is no dictionary is none as a whole: Cache-Control holds",
      again({ "cache-control": "no-store", "cdn-cache-control": "max-age=60, !" }, asked),
    ),
    optimal(
      "targeted-malformed-fresh",
      SYNTAX,
      "a targeted field that is no dictionary forbids nothing either",
      again({ "cache-control": "max-age=60", "cdn-cache-control": "no-store, !" }, stored),
    ),
    required(
      "targeted-wrong-type",
      SYNTAX,
      "a max-age that is a string is no lifetime",
      again({ "cache-control": "no-store", "cdn-cache-control": 'max-age="60"' }, asked),
    ),
    required(
      "targeted-decimal",
      SYNTAX,
      "a max-age that is a decimal is no lifetime",
      again({ "cache-control": "no-store", "cdn-cache-control": "max-age=60.0" }, asked),
    ),
    optimal(
      "targeted-parameter",
      SYNTAX,
      "parameters of a directive are ignored",
      again({ "cdn-cache-control": "max-age=60;why=because" }, stored),
    ),
    optimal(
      "targeted-extension",
      SYNTAX,
      "directives that mean nothing here are ignored",
      again({ "cdn-cache-control": "shiny, max-age=60, number=1.5" }, stored),
    ),
    ...["2147483648", "99999999999", "999999999999999"].map((age) =>
      optimal(
        `targeted-max-age-${age}`,
        SYNTAX,
        `a lifetime of ${age} seconds, which structured fields have, is one`,
        again({ "cdn-cache-control": `max-age=${age}` }, stored),
      ),
    ),
    required(
      "targeted-last-wins",
      "RFC 8941, section 3.2",
      "of a directive that is given twice the last counts",
      again({ "cdn-cache-control": "max-age=600, max-age=0" }, asked),
    ),
    optimal(
      "targeted-lines",
      "RFC 8941, section 4.2",
      "several lines are one dictionary",
      again({ "cache-control": "no-store", "cdn-cache-control": ["shiny", "max-age=60"] }, stored),
    ),
    check(
      "targeted-is-passed-on",
      RULES,
      "the targeted field is passed on to clients",
      async (site) => {
        const reply = await site.ask({ origin: { fields: { "cdn-cache-control": "max-age=60" } } });
        equal(reply.fields["cdn-cache-control"], "max-age=60", "cdn-cache-control");
      },
    ),
  ],
};
