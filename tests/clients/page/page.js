// What the browser test opens: a React page over the official hooks.
import React from "react";
import { createRoot } from "react-dom/client";
import { ConvexHttpClient } from "convex/browser";
import { ConvexProvider, ConvexReactClient, useMutation, usePaginatedQuery, useQuery } from "convex/react";
import { anyApi } from "convex/server";

const h = React.createElement;
const settings = new URLSearchParams(location.search);
const url = settings.get("server");
const channel = settings.get("channel");
const client = new ConvexReactClient(url);

// For the test to call: the browser's HTTP client, from this page's origin.
const http = new ConvexHttpClient(url);
if (settings.get("adminKey")) http.setAdminAuth(settings.get("adminKey"));
window.overHttp = (kind, module, name, args) => http[kind](anyApi[module][name], args);
window.roundTrip = async () => {
  const value = { big: 2n ** 53n + 1n, bytes: new Uint8Array([1, 2, 255]).buffer, nan: NaN, zero: -0, text: "😀𝄞" };
  const back = await client.query(anyApi.values.echo, { value });
  return (
    back.big === value.big &&
    new Uint8Array(back.bytes).join() === "1,2,255" &&
    Number.isNaN(back.nan) &&
    Object.is(back.zero, -0) &&
    back.text === value.text
  );
};

function Chat() {
  const bodies = useQuery(anyApi.messages.bodies, { channel });
  const pages = usePaginatedQuery(anyApi.messages.page, { channel }, { initialNumItems: 2 });
  const send = useMutation(anyApi.messages.append).withOptimisticUpdate((store, { channel, body }) => {
    const now = store.getQuery(anyApi.messages.bodies, { channel });
    if (now) store.setQuery(anyApi.messages.bodies, { channel }, [...now, body]);
  });
  const [draft, setDraft] = React.useState("");
  return h(
    "main",
    null,
    h("p", { id: "status" }, bodies === undefined ? "loading" : `${bodies.length} messages`),
    h("ul", { id: "messages" }, (bodies ?? []).map((body, i) => h("li", { key: i }, body))),
    h(
      "form",
      {
        onSubmit: (event) => {
          event.preventDefault();
          void send({ channel, body: draft });
          setDraft("");
        },
      },
      h("input", { id: "draft", value: draft, onChange: (event) => setDraft(event.target.value) }),
    ),
    h("ol", { id: "page" }, pages.results.map((row) => h("li", { key: row._id }, row.body))),
    h("button", { id: "more", disabled: pages.status !== "CanLoadMore", onClick: () => pages.loadMore(2) }, pages.status),
  );
}

createRoot(document.getElementById("root")).render(h(ConvexProvider, { client }, h(Chat)));
