// Parts of what is stored, and parts that are stored.
import { asked, check, equal, optimal, required, seconds, stored } from "../lib/own.js";

const RANGES = "RFC 9110, section 14.2";
const CONDITION = "RFC 9110, section 13.1.5";
const PARTS = "RFC 9111, section 3.3";
const COMBINED = "RFC 9111, section 3.4";

const body = "0123456789";
const whole = { body, fields: { "cache-control": "max-age=60", etag: '"a"', "x-own": "1" } };

/** A 206 with these bytes. */
const part = (from, to, etag = '"a"') => ({
  status: 206,
  body: body.slice(from, to + 1),
  fields: { "cache-control": "max-age=60", etag, "content-range": `bytes ${from}-${to}/10` },
});

const range = (range, more = {}) => ({ fields: { range, ...more } });

/** After the whole is stored. */
const of = (fields, verdict) => async (site) => {
  await site.ask({ origin: whole });
  verdict(await site.ask({ fields }));
};

const isPart = (text, contentRange) => (reply) => {
  stored(reply);
  equal(reply.status, 206, "status");
  equal(reply.body, text, "body");
  equal(reply.fields["content-range"], contentRange, "content-range");
};

const isWhole = (reply) => {
  equal(reply.status, 200, "status");
  equal(reply.body, body, "body");
};

export default {
  suite: "ranges",
  tests: [
    optimal(
      "range-first",
      RANGES,
      "the first bytes are cut from what is stored",
      of({ range: "bytes=0-3" }, isPart("0123", "bytes 0-3/10")),
    ),
    optimal(
      "range-open",
      RANGES,
      "the rest is cut from what is stored",
      of({ range: "bytes=7-" }, isPart("789", "bytes 7-9/10")),
    ),
    optimal(
      "range-last",
      RANGES,
      "the last bytes are cut from what is stored",
      of({ range: "bytes=-2" }, isPart("89", "bytes 8-9/10")),
    ),
    optimal(
      "range-long",
      RANGES,
      "a range ends where the whole does",
      of({ range: "bytes=8-100" }, isPart("89", "bytes 8-9/10")),
    ),
    optimal(
      "range-unit-case",
      "RFC 9110, section 14.1",
      "range units are compared without case",
      of({ range: "Bytes=0-3" }, isPart("0123", "bytes 0-3/10")),
    ),
    required(
      "range-fields",
      COMBINED,
      "a part carries the fields of the whole",
      of({ range: "bytes=0-3" }, (reply) => {
        equal(reply.fields["x-own"], "1", "x-own");
        equal(reply.fields.etag, '"a"', "etag");
      }),
    ),
    optimal(
      "range-beyond",
      "RFC 9110, section 15.5.17",
      "a range beyond the end is answered with 416 and the length",
      of({ range: "bytes=10-" }, (reply) => {
        equal(reply.status, 416, "status");
        equal(reply.fields["content-range"], "bytes */10", "content-range");
      }),
    ),
    ...["bytes=5-3", "bytes=a-b", "bytes", "lines=1-2", "bytes=-"].map((text) =>
      required(
        `range-malformed-${text}`,
        RANGES,
        `Range: ${text} is ignored`,
        of({ range: text }, isWhole),
      ),
    ),
    required(
      "range-if-match",
      CONDITION,
      "If-Range with the entity tag of what is stored gives the part",
      of({ range: "bytes=0-3", "if-range": '"a"' }, (reply) => {
        if (reply.status === 206) equal(reply.body, "0123", "body");
        else isWhole(reply);
      }),
    ),
    required(
      "range-if-other",
      CONDITION,
      "If-Range with another entity tag gives the whole",
      of({ range: "bytes=0-3", "if-range": '"b"' }, isWhole),
    ),
    required(
      "range-if-weak",
      CONDITION,
      "If-Range with a weak entity tag gives the whole",
      of({ range: "bytes=0-3", "if-range": 'W/"a"' }, isWhole),
    ),
    required(
      "range-if-none-match",
      "RFC 9110, section 13.2.2",
      "a condition that gives 304 comes before the range",
      of({ range: "bytes=0-3", "if-none-match": '"a"' }, (reply) =>
        equal(reply.status, 304, "status"),
      ),
    ),
    check(
      "range-several",
      "RFC 9110, section 14.6",
      "several ranges are answered in parts",
      of({ range: "bytes=0-1,8-9" }, (reply) => {
        equal(reply.status, 206, "status");
        equal(reply.fields["content-type"]?.split(";")[0], "multipart/byteranges", "content-type");
      }),
    ),
    required(
      "range-several-right",
      "RFC 9110, section 14.6",
      "several ranges are answered with nothing wrong",
      of({ range: "bytes=0-1,8-9" }, (reply) => {
        if (reply.status === 200) return isWhole(reply);
        equal(reply.status, 206, "status");
        for (const text of ["bytes 0-1/10", "01", "bytes 8-9/10", "89"]) {
          if (!reply.body.includes(text)) throw new Error(`no ${text} in the parts`);
        }
      }),
    ),
    required(
      "range-stale",
      "RFC 9111, section 4.2.4",
      "no part is cut from what is stale",
      async (site) => {
        await site.ask({
          origin: { ...whole, fields: { "cache-control": "max-age=1", etag: '"a"' } },
        });
        await seconds(2.5);
        const reply = await site.ask({ ...range("bytes=0-3"), origin: part(0, 3) });
        equal(reply.wasAsked, true, "whether the origin was asked");
      },
    ),
    optimal("part-stored", PARTS, "a part is stored and answers the same range", async (site) => {
      await site.ask({ ...range("bytes=2-5"), origin: part(2, 5) });
      isPart("2345", "bytes 2-5/10")(await site.ask(range("bytes=2-5")));
    }),
    optimal("part-of-part", PARTS, "a stored part answers ranges within it", async (site) => {
      await site.ask({ ...range("bytes=2-7"), origin: part(2, 7) });
      isPart("345", "bytes 3-5/10")(await site.ask(range("bytes=3-5")));
    }),
    required(
      "part-is-not-whole",
      PARTS,
      "a stored part does not answer for the whole",
      async (site) => {
        await site.ask({ ...range("bytes=0-3"), origin: part(0, 3) });
        isWhole(await site.ask({ origin: whole }));
      },
    ),
    required(
      "part-is-not-other",
      PARTS,
      "a stored part does not answer for bytes outside of it",
      async (site) => {
        await site.ask({ ...range("bytes=0-3"), origin: part(0, 3) });
        const reply = await site.ask({ ...range("bytes=4-5"), origin: part(4, 5) });
        equal(reply.status, 206, "status");
        equal(reply.body, "45", "body");
      },
    ),
    required(
      "part-of-other",
      COMBINED,
      "parts of two versions are never put together",
      async (site) => {
        await site.ask({ ...range("bytes=0-4"), origin: part(0, 4) });
        const other = { ...part(5, 9, '"b"'), body: "FGHIJ" };
        await site.ask({ ...range("bytes=5-9"), origin: other });
        const newest = {
          body: "ABCDEFGHIJ",
          fields: { "cache-control": "max-age=60", etag: '"b"' },
        };
        const reply = await site.ask({ origin: newest });
        if (reply.body !== "ABCDEFGHIJ") throw new Error(`body is "${reply.body}"`);
      },
    ),
    required(
      "part-private",
      "RFC 9111, section 3",
      "a private part is not stored",
      async (site) => {
        const private_ = part(0, 3);
        private_.fields["cache-control"] = "private, max-age=60";
        await site.ask({ ...range("bytes=0-3"), origin: private_ });
        asked(await site.ask(range("bytes=0-3")));
      },
    ),
  ],
};
