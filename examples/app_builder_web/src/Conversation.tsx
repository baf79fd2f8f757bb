// One project: its name, its messages as they stream in, how far its agent is, and what the user asks for next.
import { useMutation, useQuery } from "convex/react";
import type { OptimisticLocalStore } from "convex/browser";
import { useEffect, useRef, useState, type FormEvent, type KeyboardEvent } from "react";
import { api, type Fragment, type Message, type Project, type ProjectId, type Run } from "./api";
import { FRAMEWORKS } from "./ProjectList";
import { useAttempt } from "./trouble";

export function Conversation({ project }: { project: Project }) {
  const messages = useQuery(api.messages.list, { projectId: project._id });
  const latest = useQuery(api.agentRuns.listRecentForProject, { projectId: project._id })?.[0];
  return (
    <article className="conversation">
      <Title project={project} />
      <Messages messages={messages} />
      {latest && <Progress run={latest} />}
      <Composer projectId={project._id} />
    </article>
  );
}

function Title({ project }: { project: Project }) {
  const [draft, setDraft] = useState<string | null>(null);
  const attempt = useAttempt();
  const remove = useMutation(api.projects.deleteProject);
  const rename = useMutation(api.projects.update).withOptimisticUpdate((store, { projectId, name }) => {
    if (name === undefined) return;
    const projects = store.getQuery(api.projects.list, {});
    store.setQuery(
      api.projects.list,
      {},
      projects?.map((each) => (each._id === projectId ? { ...each, name } : each)),
    );
  });

  function submit(event: FormEvent) {
    event.preventDefault();
    const name = draft?.trim();
    setDraft(null);
    if (name) void attempt(() => rename({ projectId: project._id, name }));
  }

  function confirmRemoval() {
    if (confirm(`Delete “${project.name}” with all its messages?`)) {
      void attempt(() => remove({ projectId: project._id }));
    }
  }

  if (draft !== null) {
    return (
      <form className="title" onSubmit={submit} onKeyDown={(event) => event.key === "Escape" && setDraft(null)}>
        <input aria-label="Project name" value={draft} onChange={(event) => setDraft(event.target.value)} autoFocus />
        <button>Save</button>
        <button type="button" className="quiet" onClick={() => setDraft(null)}>
          Cancel
        </button>
      </form>
    );
  }
  return (
    <div className="title">
      <h2>{project.name}</h2>
      <small>{FRAMEWORKS[project.framework]}</small>
      <button className="quiet" onClick={() => setDraft(project.name)}>
        Rename
      </button>
      <button className="quiet danger" onClick={confirmRemoval}>
        Delete
      </button>
    </div>
  );
}

function Messages({ messages }: { messages: Message[] | undefined }) {
  const end = useRef<HTMLLIElement>(null);
  const length = messages?.length;
  const lastLine = messages?.at(-1)?.content;
  useEffect(() => {
    end.current?.scrollIntoView({ block: "end" });
  }, [length, lastLine]);

  if (messages === undefined) return <p className="empty">Loading…</p>;
  if (messages.length === 0) return <p className="empty">What shall be built?</p>;
  return (
    <ol className="messages" aria-label="Messages" aria-live="polite">
      {messages.map((message) => (
        <li key={message._id} className={`message ${message.role} ${message.type} ${message.status}`}>
          <p className="author">{message.role === "USER" ? "You" : "Agent"}</p>
          <p className="content">{message.content}</p>
          {message.status === "PENDING" && <p className="state">Sending…</p>}
          {message.Fragment && <Files fragment={message.Fragment} />}
        </li>
      ))}
      <li ref={end} aria-hidden />
    </ol>
  );
}

function Files({ fragment }: { fragment: Fragment }) {
  const files = Object.entries((fragment.files ?? {}) as Record<string, unknown>);
  return (
    <div className="files">
      {files.map(([path, text]) => (
        <details key={path}>
          <summary>{path}</summary>
          <pre>{typeof text === "string" ? text : JSON.stringify(text, null, 2)}</pre>
        </details>
      ))}
    </div>
  );
}

const STEPS: [Run["status"], string][] = [
  ["PENDING", "Queued"],
  ["RUNNING", "Building"],
  ["COMPLETED", "Done"],
];

function Progress({ run }: { run: Run }) {
  if (run.status === "FAILED") {
    return (
      <p className="progress failed" role="status">
        The agent gave up: {run.error}
      </p>
    );
  }
  const reached = STEPS.findIndex(([status]) => status === run.status);
  return (
    <div role="status" aria-label={`Agent: ${STEPS[reached]?.[1]}`}>
      <ol className="progress">
        {STEPS.map(([status, name], step) => (
          <li
            key={status}
            className={step <= reached ? "reached" : ""}
            aria-current={step === reached ? "step" : undefined}
          >
            {name}
          </li>
        ))}
      </ol>
    </div>
  );
}

function Composer({ projectId }: { projectId: ProjectId }) {
  const [text, setText] = useState("");
  const attempt = useAttempt();
  const ask = useMutation(api.agentRuns.ask).withOptimisticUpdate(showAtOnce);

  async function submit() {
    const value = text.trim();
    if (!value) return;
    setText("");
    const sent = await attempt(() => ask({ projectId, value }));
    if (!sent) setText((typedSince) => typedSince || value);
  }

  function onKeyDown(event: KeyboardEvent) {
    if (event.key !== "Enter" || event.shiftKey || event.nativeEvent.isComposing) return;
    event.preventDefault();
    void submit();
  }

  return (
    <form
      className="composer"
      onSubmit={(event) => {
        event.preventDefault();
        void submit();
      }}
    >
      <textarea
        aria-label="What shall be built?"
        placeholder="A page with a counter, please"
        rows={2}
        value={text}
        onChange={(event) => setText(event.target.value)}
        onKeyDown={onKeyDown}
      />
      <button>Send</button>
      <p className="hint">Enter sends, Shift+Enter starts a line. A request costs one credit.</p>
    </form>
  );
}

/** The message and its credit, as they will be: until the server answers, or again without a connection. */
function showAtOnce(store: OptimisticLocalStore, { projectId, value }: { projectId: ProjectId; value: string }) {
  const messages = store.getQuery(api.messages.list, { projectId });
  if (messages !== undefined) {
    const sending: Message = {
      _id: `sending-${messages.length}` as Message["_id"],
      _creationTime: Date.now(),
      projectId,
      content: value,
      role: "USER",
      type: "RESULT",
      status: "PENDING",
      Fragment: null,
      Attachment: [],
    };
    store.setQuery(api.messages.list, { projectId }, [...messages, sending]);
  }
  const usage = store.getQuery(api.usage.getUsage, {});
  if (usage !== undefined && usage.planType !== "unlimited") {
    store.setQuery(api.usage.getUsage, {}, { ...usage, points: Math.max(0, usage.points - 1) });
  }
}
