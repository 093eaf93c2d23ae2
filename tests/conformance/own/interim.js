// Interim responses: what an origin says before it answers.
import { createConnection } from "node:net";

import { equal, optimal, required, stored } from "../lib/own.js";

const PASSED_ON = "RFC 9110, section 15.2";
const HINTS = { link: "</style.css>; rel=preload; as=style", "x-hint": "1" };
const fresh = { "cache-control": "max-age=60" };

export default {
  suite: "interim",
  tests: [
    optimal(
      "interim-102",
      PASSED_ON,
      "102 is passed on, and the answer is stored",
      async (site) => {
        const reply = await site.ask({ origin: { fields: fresh, interim: [[102]] } });
        equal(reply.interim.map((it) => it.status).join(), "102", "interim");
        stored(await site.ask());
      },
    ),
    optimal(
      "interim-103",
      "RFC 8297, section 2",
      "103 is passed on with its fields, and the answer is stored",
      async (site) => {
        const reply = await site.ask({ origin: { fields: fresh, interim: [[103, HINTS]] } });
        equal(reply.interim[0]?.status, 103, "interim");
        equal(reply.interim[0].fields.link, HINTS.link, "link");
        equal(reply.interim[0].fields["x-hint"], "1", "x-hint");
        equal(reply.body, "answer 1", "body");
        stored(await site.ask());
      },
    ),
    optimal("interim-several", PASSED_ON, "several are passed on in their order", async (site) => {
      const interim = [
        [103, { link: "</a>; rel=preload" }],
        [102],
        [103, { link: "</b>; rel=preload" }],
      ];
      const reply = await site.ask({ origin: { fields: fresh, interim } });
      equal(reply.interim.map((it) => it.status).join(), "103,102,103", "interim");
      equal(reply.interim[2].fields.link, "</b>; rel=preload", "link");
    }),
    optimal(
      "interim-early",
      "RFC 8297, section 2",
      "103 comes before the answer is there",
      async (site) => {
        const reply = await site.ask({
          origin: { fields: fresh, interim: [[103, HINTS]], afterInterim: 0.5 },
        });
        if (!(reply.interimAt < reply.at - 300)) throw new Error("it came with the answer");
      },
    ),
    required(
      "interim-not-stored",
      "RFC 9111, section 3",
      "only the final answer is stored",
      async (site) => {
        await site.ask({ origin: { fields: fresh, interim: [[103, HINTS]] } });
        const reply = await site.ask();
        stored(reply);
        equal(reply.status, 200, "status");
        equal(reply.interim.length, 0, "number of interim responses");
      },
    ),
    required(
      "interim-fields",
      "RFC 8297, section 2",
      "fields of an interim response are not those of the answer, nor of what is stored",
      async (site) => {
        const origin = { fields: fresh, interim: [[103, HINTS]] };
        for (const reply of [await site.ask({ origin }), await site.ask()]) {
          equal(reply.fields["x-hint"], undefined, "x-hint");
          equal(reply.fields.link, undefined, "link");
        }
      },
    ),
    required(
      "interim-http-1.0",
      PASSED_ON,
      "a client that speaks HTTP/1.0 gets none",
      async (site) => {
        site.origin = { fields: fresh, interim: [[103, HINTS]] };
        const { hostname, port } = new URL(site.cache);
        const text = await new Promise((resolve, reject) => {
          const socket = createConnection(port, hostname);
          socket.setEncoding("utf8");
          let received = "";
          socket.on("data", (chunk) => (received += chunk));
          socket.once("end", () => resolve(received));
          socket.once("error", reject);
          socket.write(`GET /own/${site.name} HTTP/1.0\r\nhost: ${hostname}\r\n\r\n`);
        });
        equal(text.split("\r\n")[0].split(" ")[1], "200", "first status");
      },
    ),
  ],
};
