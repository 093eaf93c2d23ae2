// Dates as caches read them: more kindly than others, where no doubt is left.
import { asked, date, optimal, required, stored } from "../lib/own.js";

const FORMS = "RFC 9111, section 4.2";
const EXPIRES = "RFC 9111, section 5.3";

const again = (fields, verdict) => async (site) => {
  await site.ask({ origin: { fields } });
  verdict(await site.ask());
};

const readable = {
  "imf-fixdate": "Thu, 18 Aug 2050 02:01:18 GMT",
  "day-case": "tHU, 18 Aug 2050 02:01:18 GMT",
  "month-case": "Thu, 18 aUG 2050 02:01:18 GMT",
  "zone-case": "Thu, 18 Aug 2050 02:01:18 gmt",
  rfc850: "Thursday, 18-Aug-50 02:01:18 GMT",
  "rfc850-case": "THURSDAY, 18-AUG-50 02:01:18 GMT",
  asctime: "Thu Aug 18 02:01:18 2050",
  "asctime-one-digit": "Mon Aug  8 02:01:18 2050",
  "wrong-day": "Mon, 18 Aug 2050 02:01:18 GMT",
  "after-32-bit": "Wed, 20 Jan 2038 03:14:08 GMT",
  "last-year": "Fri, 31 Dec 9999 23:59:59 GMT",
};

const unreadable = {
  zero: "0",
  "minus-one": "-1",
  empty: "",
  words: "tomorrow",
  utc: "Thu, 18 Aug 2050 02:01:18 UTC",
  "other-zone": "Thu, 18 Aug 2050 02:01:18 CEST",
  "numeric-zone": "Thu, 18 Aug 2050 02:01:18 +0000",
  "no-zone": "Thu, 18 Aug 2050 02:01:18",
  "two-digit-year": "Thu, 18 Aug 50 02:01:18 GMT",
  "no-comma": "Thu 18 Aug 2050 02:01:18 GMT",
  spaces: "Thu, 18  Aug 2050 02:01:18 GMT",
  dashes: "Thu, 18-Aug-2050 02:01:18 GMT",
  dots: "Thu, 18 Aug 2050 02.01.18 GMT",
  "one-digit-hour": "Thu, 18 Aug 2050 2:01:18 GMT",
  "no-such-day": "Thu, 31 Feb 2050 02:01:18 GMT",
  "no-such-hour": "Thu, 18 Aug 2050 25:01:18 GMT",
  "no-such-month": "Thu, 18 Abc 2050 02:01:18 GMT",
};

export default {
  suite: "dates",
  tests: [
    ...Object.entries(readable).map(([id, expires]) =>
      optimal(`date-${id}`, FORMS, `Expires: ${expires} is a date`, async (site) =>
        again({ date: date(0), expires }, stored)(site),
      ),
    ),
    ...Object.entries(unreadable).map(([id, expires]) =>
      required(
        `date-${id}`,
        EXPIRES,
        `Expires: ${expires || "(empty)"} is no date, and over`,
        async (site) => again({ date: date(0), expires }, asked)(site),
      ),
    ),
    required(
      "date-two-expires",
      EXPIRES,
      "Expires that is there twice is no date",
      async (site) => {
        const expires = [
          readable["imf-fixdate"],
          readable["imf-fixdate"].replace("18 GMT", "19 GMT"),
        ];
        await again({ date: date(0), expires }, asked)(site);
      },
    ),
    optimal(
      "date-invalid-date",
      "RFC 9110, section 6.6.1",
      "without a Date that can be read it is now",
      async (site) => again({ date: "today", expires: date(60) }, stored)(site),
    ),
    required(
      "date-expires-as-date",
      EXPIRES,
      "what expires when it was made is stale",
      async (site) => {
        const now = date(0);
        await again({ date: now, expires: now }, asked)(site);
      },
    ),
    required(
      "date-fast-clock",
      "RFC 9111, section 4.2.1",
      "Expires is compared with Date, not with now",
      async (site) => again({ date: date(400), expires: date(300) }, asked)(site),
    ),
  ],
};
