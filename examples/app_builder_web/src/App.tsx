import { Authenticated, AuthLoading, Unauthenticated, useConvexConnectionState, useQuery } from "convex/react";
import { useSyncExternalStore, type FormEvent } from "react";
import { api } from "./api";
import { useSession } from "./auth";
import { Conversation } from "./Conversation";
import { ProjectList } from "./ProjectList";
import { Boundary, TroubleProvider } from "./trouble";

export function App() {
  return (
    <>
      <Unauthenticated>
        <SignIn />
      </Unauthenticated>
      <AuthLoading>
        <p className="empty">Signing in…</p>
      </AuthLoading>
      <Authenticated>
        <TroubleProvider>
          <Workbench />
        </TroubleProvider>
      </Authenticated>
    </>
  );
}

function SignIn() {
  const { signIn } = useSession();
  function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const user = String(new FormData(event.currentTarget).get("user")).trim();
    if (user) signIn(user);
  }
  return (
    <main className="sign-in">
      <h1>App builder</h1>
      <p>Describe an app, and watch an agent build it.</p>
      <form onSubmit={submit}>
        <label htmlFor="user">Your name</label>
        <input id="user" name="user" autoComplete="username" required autoFocus />
        <button>Sign in</button>
      </form>
      <p className="hint">For development: there is no password, you are who you say.</p>
    </main>
  );
}

/** The id after the # of the address: the open project survives a reload, and has a link. */
function useOpenProject(): string {
  return useSyncExternalStore(
    (changed) => {
      addEventListener("hashchange", changed);
      return () => removeEventListener("hashchange", changed);
    },
    () => location.hash.slice(1),
  );
}

function Workbench() {
  const open = useOpenProject();
  const projects = useQuery(api.projects.list, {});
  const project = projects?.find(({ _id }) => _id === open);
  return (
    <div className="workbench">
      <Header />
      <ProjectList projects={projects} open={open} />
      <main>
        {project ? (
          <Boundary key={project._id} fallback={<p className="empty">This project can’t be shown.</p>}>
            <Conversation project={project} />
          </Boundary>
        ) : (
          <p className="empty">
            {projects === undefined ? "Loading…" : open ? "This project is gone." : "Open a project, or make one."}
          </p>
        )}
      </main>
    </div>
  );
}

function Header() {
  const { user, signOut } = useSession();
  const usage = useQuery(api.usage.getUsage, {});
  const { isWebSocketConnected } = useConvexConnectionState();
  return (
    <header>
      <h1>App builder</h1>
      <p className={isWebSocketConnected ? "connection" : "connection offline"} role="status">
        {isWebSocketConnected ? "Live" : "Offline: what you do is sent when the connection is back"}
      </p>
      {usage && (
        <p className="credits" title={`Plan: ${usage.planType}`}>
          <meter min={0} max={usage.maxPoints} value={usage.points} aria-hidden />
          {usage.planType === "unlimited" ? "Unlimited credits" : `${usage.points} of ${usage.maxPoints} credits left`}
        </p>
      )}
      <p className="user">{user}</p>
      <button className="quiet" onClick={signOut}>
        Sign out
      </button>
    </header>
  );
}
