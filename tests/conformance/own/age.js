// How old a response is, by what it says and by how long it took.
import { asked, date, equal, optimal, required, seconds, stored } from "../lib/own.js";

const FIELD = "RFC 9111, section 5.1";
const CALCULATED = "RFC 9111, section 4.2.3";

const again = (age, verdict) => async (site) => {
  await site.ask({ origin: { fields: { "cache-control": "max-age=3600", age } } });
  verdict(await site.ask());
};

const atLeast = (reply, age) => {
  if (!(Number(reply.fields.age) >= age)) throw new Error(`age is ${reply.fields.age}`);
};

export default {
  suite: "age",
  tests: [
    optimal("age-word", FIELD, "an Age that is a word is ignored", again("old", stored)),
    optimal("age-negative", FIELD, "a negative Age is ignored", again("-7200", stored)),
    optimal("age-decimal", FIELD, "an Age that is no integer is ignored", again("7200.5", stored)),
    optimal("age-first", FIELD, "of a list the first counts", again("1, 7200", stored)),
    required(
      "age-first-old",
      FIELD,
      "of a list the first counts, if it is old too",
      again("7200, 1", asked),
    ),
    optimal("age-first-line", FIELD, "of two lines the first counts", again(["1", "7200"], stored)),
    required(
      "age-first-line-old",
      FIELD,
      "of two lines the first counts, if it is old too",
      again(["7200", "1"], asked),
    ),
    optimal("age-twice", FIELD, "0 that is there twice is 0", again("0, 0", stored)),
    optimal("age-two-lines", FIELD, "0 on two lines is 0", again(["0", "0"], stored)),
    optimal(
      "age-two-lines-same",
      FIELD,
      "an age that is there twice and below the lifetime is no reason to ask",
      again(["1800", "1800"], stored),
    ),
    ...[
      "2147483647",
      "2147483648",
      "2147483649",
      "4294967296",
      "99999999999999999999",
    ].map((age) =>
      required(
        `age-${age}`,
        "RFC 9111, section 1.2.2",
        `an Age of ${age} is very old`,
        again(age, asked),
      ),
    ),
    required(
      "age-grows",
      "RFC 9111, section 4",
      "a stored response says how old it is now",
      async (site) => {
        await site.ask({ origin: { fields: { "cache-control": "max-age=60", age: "30" } } });
        await seconds(2);
        const reply = await site.ask();
        stored(reply);
        atLeast(reply, 31);
      },
    ),
    required(
      "age-delay",
      CALCULATED,
      "how long the origin took counts, if it passed on what is old",
      async (site) => {
        const fields = { "cache-control": "max-age=60", age: "10" };
        await site.ask({ origin: { fields, after: 2.5 } });
        const reply = await site.ask();
        stored(reply);
        atLeast(reply, 12);
      },
    ),
    required("age-date", CALCULATED, "a response that was made long ago is old", async (site) => {
      const made = new Date(Date.now() - 7_200_000).toUTCString();
      await site.ask({ origin: { fields: { "cache-control": "max-age=3600", date: made } } });
      asked(await site.ask());
    }),
    required(
      "age-date-kept",
      "RFC 9110, section 6.6.1",
      "a stored response keeps its Date",
      async (site) => {
        const first = await site.ask({ origin: { fields: { "cache-control": "max-age=60" } } });
        await seconds(1.5);
        equal((await site.ask()).fields.date, first.fields.date, "date");
      },
    ),
    required(
      "age-date-kept-expires",
      "RFC 9110, section 6.6.1",
      "a stored response that says when it expires keeps its Date too",
      async (site) => {
        const first = await site.ask({ origin: { fields: { expires: date(600) } } });
        await seconds(1.5);
        const reply = await site.ask();
        stored(reply);
        equal(reply.fields.date, first.fields.date, "date");
      },
    ),
  ],
};
