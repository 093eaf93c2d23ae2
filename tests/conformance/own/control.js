// Cache-Control: what later answers say of what is stored, and when it is over.
import { asked, equal, optimal, required, seconds, stored } from "../lib/own.js";

const fields = (control) => ({ fields: { "cache-control": control } });

/** What is stored stays in use, whatever the origin would say by now. */
const staysBefore = (control) => async (site) => {
  await site.ask({ origin: fields("max-age=600") });
  for (let again = 0; again < 2; again += 1) {
    const reply = await site.ask({ origin: fields(control) });
    stored(reply);
    equal(reply.body, "answer 1", "body");
  }
};

export default {
  suite: "control",
  tests: [
    required(
      "control-max-age-ends",
      "RFC 9111, section 4.2",
      "after its max-age a response is not used unasked",
      async (site) => {
        await site.ask({ origin: fields("max-age=2") });
        await seconds(3.5);
        asked(await site.ask());
      },
    ),
    ...["no-store", "no-store, max-age=0"].map((control) =>
      required(
        `control-later-${control.replace(", ", "-")}`,
        "RFC 9111, section 5.2.2.5",
        `what is stored is used while it is fresh, though the origin would say ${control} now`,
        staysBefore(control),
      ),
    ),
    optimal(
      "control-must-understand",
      "RFC 9111, section 5.2.2.3",
      "whoever understands the status stores in spite of no-store",
      async (site) => {
        await site.ask({ origin: fields("max-age=600, no-store, must-understand") });
        stored(await site.ask());
      },
    ),
    required(
      "control-must-understand-unknown",
      "RFC 9111, section 5.2.2.3",
      "whoever does not understand the status does not store",
      async (site) => {
        const origin = { status: 599, ...fields("max-age=600, no-store, must-understand") };
        await site.ask({ origin });
        asked(await site.ask());
      },
    ),
  ],
};
