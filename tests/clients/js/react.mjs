// Renders real React components over the official hooks, on behalf of a test (same line protocol as driver.mjs).
// Every committed render is told as {"event": "render", "root": name, "state": ...}.
import readline from "node:readline";
import { JSDOM } from "jsdom";

const dom = new JSDOM("<!doctype html><body></body>", { pretendToBeVisual: true });
globalThis.window = dom.window;
globalThis.document = dom.window.document;
globalThis.HTMLElement = dom.window.HTMLElement;
Object.defineProperty(globalThis, "navigator", { value: dom.window.navigator, configurable: true });

const { default: WebSocket } = await import("ws");
const React = await import("react");
const { flushSync } = await import("react-dom");
const { createRoot } = await import("react-dom/client");
const { ConvexProvider, ConvexReactClient, useMutation, useAction, usePaginatedQuery, useQueries, useQuery, useConvexConnectionState } =
  await import("convex/react");
const { anyApi } = await import("convex/server");
const { convexToJson, jsonToConvex } = await import("convex/values");
const h = React.createElement;

const tell = (message) => process.stdout.write(JSON.stringify(message) + "\n");
for (const level of ["log", "info", "warn", "error", "debug"]) {
  console[level] = (...parts) =>
    tell({ event: "console", level, line: parts.map((p) => (p instanceof Error ? p.stack : String(p))).join(" ") });
}
process.on("uncaughtException", (e) => tell({ event: "uncaught", name: e.constructor.name, message: e.message, stack: e.stack }));
process.on("unhandledRejection", (e) => tell({ event: "uncaught", name: e?.constructor?.name, message: String(e?.message ?? e) }));

const encode = (value) => (value === undefined ? { loading: true } : convexToJson(value));
const describe = (error) => {
  const told = { name: error?.constructor?.name, message: String(error?.message ?? error) };
  if (error && typeof error === "object" && "data" in error) told.data = convexToJson(error.data);
  return told;
};
const reference = (path) => {
  const [module, name] = path.split(":");
  return module.split("/").reduce((node, part) => node[part], anyApi)[name];
};

const handles = new Map(); // what a component lets the test press

function useTold(root, state) {
  const text = JSON.stringify(state);
  React.useLayoutEffect(() => {
    tell({ event: "render", root, state: JSON.parse(text) });
  }, [text]);
}

// As a click does: what it changes at once is rendered at once, not together with an answer that comes quickly.
function clicked(act) {
  let answer;
  flushSync(() => (answer = act()));
  return answer;
}

// A list of strings, and a button that appends one optimistically.
function Board({ root, channel }) {
  const bodies = useQuery(anyApi.messages.bodies, { channel });
  const append = useMutation(anyApi.messages.append).withOptimisticUpdate((store, args) => {
    const now = store.getQuery(anyApi.messages.bodies, { channel: args.channel });
    if (now !== undefined) store.setQuery(anyApi.messages.bodies, { channel: args.channel }, [...now, `${args.body} (sending)`]);
  });
  const fail = useMutation(anyApi.messages.sendThenFail).withOptimisticUpdate((store, args) => {
    const now = store.getQuery(anyApi.messages.bodies, { channel: args.channel });
    if (now !== undefined) store.setQuery(anyApi.messages.bodies, { channel: args.channel }, [...now, `${args.body} (sending)`]);
  });
  const echo = useAction(anyApi.actions.echo);
  handles.set(root, {
    append: (body) => clicked(() => append({ channel, body })),
    fail: (body) => clicked(() => fail({ channel, body })),
    echo: (value) => echo({ value }),
  });
  useTold(root, encode(bodies));
  return h("ul", null, (bodies ?? []).map((body, i) => h("li", { key: i }, body)));
}

// Two counters in one render: never different.
function Pair({ root, left, right }) {
  const a = useQuery(anyApi.counters.read, { name: left });
  const b = useQuery(anyApi.counters.read, { name: right });
  useTold(root, [encode(a), encode(b)]);
  return null;
}

function Pages({ root, query, args, initialNumItems }) {
  const { results, status, loadMore } = usePaginatedQuery(reference(query), args, { initialNumItems });
  handles.set(root, { loadMore });
  useTold(root, { status, results: encode(results) });
  return null;
}

function Skipping({ root, channel }) {
  const [on, setOn] = React.useState(false);
  const count = useQuery(anyApi.messages.count, on ? { channel } : "skip");
  handles.set(root, { turn: setOn });
  useTold(root, encode(count));
  return null;
}

class Boundary extends React.Component {
  state = { error: null };
  static getDerivedStateFromError(error) {
    return { error };
  }
  render() {
    if (!this.state.error) return this.props.children;
    return h(Failed, { root: this.props.root, error: this.state.error, again: () => this.setState({ error: null }) });
  }
}
function Failed({ root, error, again }) {
  handles.set(root, { again });
  useTold(root, { failed: describe(error) });
  return null;
}
function Fragile({ root, query, args }) {
  useTold(root, encode(useQuery(reference(query), args)));
  return null;
}

function Connection({ root }) {
  const { isWebSocketConnected, hasInflightRequests } = useConvexConnectionState();
  useTold(root, { isWebSocketConnected, hasInflightRequests });
  return null;
}

const components = { Board, Pair, Pages, Skipping, Fragile, Connection };
const clients = new Map();
const roots = new Map();
const traffics = new Map();

const operations = {
  newClient({ name, url }) {
    const traffic = { sent: [], received: [] };
    traffics.set(name, traffic);
    class Watched extends WebSocket {
      constructor(...args) {
        super(...args);
        this.on("message", (data) => traffic.received.push(JSON.parse(data.toString())));
      }
      send(data, ...rest) {
        traffic.sent.push(JSON.parse(data));
        return super.send(data, ...rest);
      }
    }
    clients.set(name, new ConvexReactClient(url, { webSocketConstructor: Watched, unsavedChangesWarning: false }));
  },
  traffic: ({ name }) => traffics.get(name),
  mount({ client, root, component, ...props }) {
    const container = document.createElement("div");
    document.body.append(container);
    const reactRoot = createRoot(container);
    roots.set(root, { reactRoot, container });
    reactRoot.render(
      h(ConvexProvider, { client: clients.get(client) }, h(Boundary, { root }, h(components[component], { root, ...props }))),
    );
  },
  unmount({ root }) {
    roots.get(root).reactRoot.unmount();
  },
  html: ({ root }) => roots.get(root).container.innerHTML,
  async press({ root, button, with: value }) {
    const result = await handles.get(root)[button](value);
    return result === undefined ? null : convexToJson(result);
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
