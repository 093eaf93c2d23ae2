// An EventSource inside a page, read from the test.

/** Events of these types are kept. */
const TYPES = ["connected", "invalidate", "preload", "reset", "reconnect", "heartbeat"];

/**
 * Opens an EventSource in the page and waits until it is connected. `types` are custom
 * event types to keep besides those of Tidegate.
 */
export async function listen(page, path, types = []) {
  const handle = await page.evaluateHandle(
    ([path, types]) => {
      const source = new EventSource(path);
      const heard = [];
      for (const type of types) {
        source.addEventListener(type, (event) => {
          heard.push({ type, data: event.data, id: event.lastEventId });
        });
      }
      return { source, heard };
    },
    [path, [...TYPES, ...types]],
  );
  /** Waits for an event of this type whose data holds `text`, heard already or not. */
  const next = async (type, text = "", options = {}) => {
    const found = await page.waitForFunction(
      ([{ heard }, type, text]) =>
        heard.find((event) => event.type === type && event.data.includes(text)),
      [handle, type, text],
      { timeout: 30_000, ...options },
    );
    return found.jsonValue();
  };
  await next("connected");
  return {
    next,
    /** Everything heard so far. */
    heard: () => handle.evaluate(({ heard }) => heard),
    /** Closes the connection for good. */
    close: () => handle.evaluate(({ source }) => source.close()),
  };
}
