// Drives the official npm client on behalf of a test. Commands come as JSON lines on stdin:
//   {"id": 1, "op": "subscribe", ...}   is answered by   {"id": 1, "ok": ...} or {"id": 1, "error": {...}}
// and what happens by itself is told as {"event": ...}. Values cross in Convex's own encoded JSON.
import readline from "node:readline";
import WebSocket from "ws";
import { ConvexClient, ConvexHttpClient } from "convex/browser";
import { anyApi } from "convex/server";
import { convexToJson, jsonToConvex } from "convex/values";

const tell = (message) => process.stdout.write(JSON.stringify(message) + "\n");
const encode = (value) => (value === undefined ? { $undefined: true } : convexToJson(value));
const decode = (json) => jsonToConvex(json ?? {});

export function describe(error) {
  const told = { name: error?.constructor?.name, message: String(error?.message ?? error) };
  if (error && typeof error === "object" && "data" in error) told.data = encode(error.data);
  return told;
}

const reference = (path) => {
  const [modulePath, name = "default"] = path.split(":");
  return modulePath.split("/").reduce((node, part) => node[part], anyApi)[name];
};

const clients = new Map();
const subscriptions = new Map();
const errors = [];
for (const level of ["log", "info", "warn", "error", "debug"]) {
  console[level] = (...parts) => {
    const line = parts.map((part) => (part instanceof Error ? part.stack : String(part))).join(" ");
    errors.push(`${level}: ${line}`);
    tell({ event: "console", level, line });
  };
}
process.on("uncaughtException", (error) => tell({ event: "uncaught", ...describe(error), stack: error.stack }));
process.on("unhandledRejection", (error) => tell({ event: "uncaught", ...describe(error) }));

// The same WebSocket that the client would take by itself, counting what passes.
function watchedSocket(name, traffic) {
  return class extends WebSocket {
    constructor(...args) {
      super(...args);
      traffic.opened += 1;
      this.on("message", (data) => {
        const text = data.toString();
        const type = JSON.parse(text).type;
        traffic.received.push(type);
        if (traffic.keep) traffic.frames.push(text);
      });
      this.on("close", (code, reason) => {
        traffic.closes.push([code, reason.toString()]);
        tell({ event: "socketClosed", client: name, code, reason: reason.toString() });
      });
    }
    send(data, ...rest) {
      const message = JSON.parse(data);
      traffic.sent.push(message.type);
      if (traffic.keep) traffic.frames.push(data);
      return super.send(data, ...rest);
    }
  };
}

const operations = {
  newClient({ name, url, options }) {
    const traffic = { opened: 0, sent: [], received: [], closes: [], frames: [], keep: false };
    const client = new ConvexClient(url, {
      webSocketConstructor: watchedSocket(name, traffic),
      unsavedChangesWarning: false,
      onServerDisconnectError: (message) => tell({ event: "disconnectError", client: name, message }),
      ...options,
    });
    clients.set(name, { client, traffic });
  },
  async closeClient({ name }) {
    await clients.get(name).client.close();
  },
  traffic({ name }) {
    return clients.get(name).traffic;
  },
  keepFrames({ name }) {
    clients.get(name).traffic.keep = true;
  },
  connectionState({ name }) {
    const state = clients.get(name).client.connectionState();
    return { ...state, timeOfOldestInflightRequest: null };
  },
  subscribe({ name, sub, path, args }) {
    const stop = clients.get(name).client.onUpdate(
      reference(path),
      decode(args),
      (value) => tell({ event: "update", sub, value: encode(value) }),
      (error) => tell({ event: "failure", sub, error: describe(error) }),
    );
    subscriptions.set(sub, stop);
  },
  subscribePages({ name, sub, path, args, initialNumItems }) {
    const pages = clients.get(name).client.onPaginatedUpdate_experimental(
      reference(path),
      decode(args),
      { initialNumItems },
      (value) =>
        tell({ event: "pages", sub, status: value.status, results: encode(value.results) }),
      (error) => tell({ event: "failure", sub, error: describe(error) }),
    );
    subscriptions.set(sub, pages);
  },
  loadMore({ sub, numItems }) {
    return subscriptions.get(sub).getCurrentValue().loadMore(numItems);
  },
  unsubscribe({ sub }) {
    subscriptions.get(sub)();
    subscriptions.delete(sub);
  },
  async query({ name, path, args }) {
    return encode(await clients.get(name).client.query(reference(path), decode(args)));
  },
  async mutation({ name, path, args, optimistic }) {
    const options = {};
    if (optimistic) {
      // Append to a list of strings, as a user's optimistic update would.
      options.optimisticUpdate = (store) => {
        const list = reference(optimistic.path);
        const now = store.getQuery(list, decode(optimistic.args));
        if (now !== undefined) store.setQuery(list, decode(optimistic.args), [...now, optimistic.append]);
      };
    }
    return encode(await clients.get(name).client.mutation(reference(path), decode(args), options));
  },
  async mutations({ name, calls }) {
    const { client } = clients.get(name);
    const all = await Promise.allSettled(calls.map(([path, args]) => client.mutation(reference(path), decode(args))));
    return all.map((one) => (one.status === "fulfilled" ? { ok: encode(one.value) } : { error: describe(one.reason) }));
  },
  async action({ name, path, args }) {
    return encode(await clients.get(name).client.action(reference(path), decode(args)));
  },
  setAdminAuth({ name, token, identity }) {
    clients.get(name).client.setAdminAuth(token, identity);
  },
  // Hands out the same token for ever, counting how often it was asked for one.
  setAuth({ name, token }) {
    const asked = [];
    clients.get(name).client.setAuth(
      async (options) => {
        asked.push(options.forceRefreshToken);
        tell({ event: "tokenAsked", client: name, forced: options.forceRefreshToken });
        return token === "fresh" ? `fresh-${asked.length}` : token;
      },
      (authenticated) => tell({ event: "authenticated", client: name, authenticated }),
    );
  },
  // Hands out these tokens one after the other, and then the last one for ever. null is "signed out".
  setAuthTokens({ name, tokens }) {
    let asked = 0;
    clients.get(name).client.setAuth(
      async (options) => {
        tell({ event: "tokenAsked", client: name, forced: options.forceRefreshToken });
        return tokens[Math.min(asked++, tokens.length - 1)];
      },
      (authenticated) => tell({ event: "authenticated", client: name, authenticated }),
    );
  },
  clearAuth({ name }) {
    clients.get(name).client.client.clearAuth();
  },
  newHttpClient({ name, url, adminKey, identity }) {
    const client = new ConvexHttpClient(url);
    if (adminKey) client.setAdminAuth(adminKey, identity);
    clients.set(name, { http: client });
  },
  setHttpAuth({ name, token }) {
    if (token === null) clients.get(name).http.clearAuth();
    else clients.get(name).http.setAuth(token);
  },
  async http({ name, kind, path, args, options }) {
    return encode(await clients.get(name).http[kind](reference(path), decode(args), options));
  },
  async httpFunction({ name, path, args }) {
    return encode(await clients.get(name).http.function(path, undefined, decode(args)));
  },
  async httpAll({ name, kind, calls }) {
    const { http } = clients.get(name);
    return Promise.all(calls.map(async ([path, args]) => encode(await http[kind](reference(path), decode(args)))));
  },
  // Values that JSON can't say, built here and compared here: nothing of the test's own encoding in between.
  async roundTrip({ name, path, http }) {
    const values = {
      nothing: null,
      yes: true,
      no: false,
      zero: 0,
      negativeZero: -0,
      whole: 3,
      fraction: -1.5,
      tiny: Number.MIN_VALUE,
      huge: Number.MAX_VALUE,
      notANumber: NaN,
      infinity: Infinity,
      negativeInfinity: -Infinity,
      beyondDoubles: 2n ** 53n + 1n,
      smallestInt: -(2n ** 63n),
      largestInt: 2n ** 63n - 1n,
      negativeInt: -5n,
      emptyBytes: new ArrayBuffer(0),
      bytes: new Uint8Array([0, 1, 2, 253, 254, 255]).buffer,
      manyBytes: new Uint8Array(300_000).map((_, i) => (i * 7) % 256).buffer,
      emptyText: "",
      astral: "smile 😀 clef 𝄞 \u0000 \u007f é ✓ \u2028 \ufeff",
      emptyArray: [],
      emptyObject: {},
      nested: [[1, [2, [3n, "x", { deep: [null, { "": 1, "a b": 2, "ünï"  : 0 }] }]]]],
    };
    delete values.nested[0][1][1][2].deep[1]["ünï"];
    const { client, http: httpClient } = clients.get(name);
    const ask = (args) =>
      http ? httpClient.query(reference(path), args) : client.query(reference(path), args);
    const wrong = [];
    const { isDeepStrictEqual } = await import("node:util");
    const plain = (v) =>
      v instanceof ArrayBuffer
        ? new Uint8Array(v)
        : Array.isArray(v)
          ? v.map(plain)
          : v && typeof v === "object"
            ? Object.fromEntries(Object.entries(v).map(([k, x]) => [k, plain(x)]))
            : v;
    for (const [label, value] of Object.entries(values)) {
      const back = await ask({ value });
      if (!isDeepStrictEqual(plain(back), plain(value))) wrong.push([label, String(back)]);
    }
    const all = await ask({ value: values });
    if (!isDeepStrictEqual(plain(all), plain(values))) wrong.push(["all together", ""]);
    return { tried: Object.keys(values).length + 1, wrong };
  },
};

const input = readline.createInterface({ input: process.stdin });
input.on("line", async (line) => {
  const { id, op, ...rest } = JSON.parse(line);
  try {
    tell({ id, ok: (await operations[op](rest)) ?? null });
  } catch (error) {
    tell({ id, error: describe(error) });
  }
});
input.on("close", () => process.exit(0));
tell({ event: "ready" });
