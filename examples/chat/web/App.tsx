// The chat with React: "skip" until there is a session, live pages, an optimistic update.
import { ConvexProvider, ConvexReactClient, insertAtTop, useAction, useMutation, usePaginatedQuery } from "convex/react";
import { anyApi } from "convex/server";
import { useState } from "react";

const client = new ConvexReactClient("http://127.0.0.1:3210");
const { messages } = anyApi;

function Chat() {
  const [sessionId, setSessionId] = useState("");
  const [text, setText] = useState("");
  const page = usePaginatedQuery(messages.listPaginated, sessionId ? { sessionId } : "skip", { initialNumItems: 20 });
  const streamReply = useAction(messages.streamReply);
  const send = useMutation(messages.send).withOptimisticUpdate((store, { sessionId, content }) =>
    insertAtTop({
      paginatedQuery: messages.listPaginated,
      argsToMatch: { sessionId },
      localQueryStore: store,
      item: { _id: "local-" + crypto.randomUUID(), _creationTime: Date.now(), sessionId, role: "user", content },
    }),
  );

  async function submit(event: React.FormEvent) {
    event.preventDefault();
    setText("");
    await send({ sessionId, content: text });
    await streamReply({ sessionId, prompt: text });
  }

  return (
    <>
      <input placeholder="Session" value={sessionId} onChange={(event) => setSessionId(event.target.value)} />
      <form onSubmit={submit}>
        <input placeholder="Say something" value={text} onChange={(event) => setText(event.target.value)} />
      </form>
      <ul>
        {page.results.map((message) => (
          <li key={message._id} className={message.role}>{message.content || "…"}</li>
        ))}
      </ul>
      {page.status === "CanLoadMore" && <button onClick={() => page.loadMore(20)}>Load older</button>}
    </>
  );
}

export default function App() {
  return (
    <ConvexProvider client={client}>
      <Chat />
    </ConvexProvider>
  );
}
