// Signing in, for development: dev.py believes whoever says who they are. In production the provider's hook takes the
// place of this one (Clerk: ConvexProviderWithClerk), and nothing else changes.
import { createContext, useCallback, useContext, useMemo, useState, type ReactNode } from "react";

interface Session {
  user: string | null;
  signIn: (user: string) => void;
  signOut: () => void;
}

const SessionContext = createContext<Session | null>(null);
const KEY = "app-builder-user";

export function SessionProvider({ children }: { children: ReactNode }) {
  const [user, setUser] = useState(() => sessionStorage.getItem(KEY));
  const session = useMemo<Session>(
    () => ({
      user,
      signIn: (name) => {
        sessionStorage.setItem(KEY, name);
        setUser(name);
      },
      signOut: () => {
        sessionStorage.removeItem(KEY);
        setUser(null);
      },
    }),
    [user],
  );
  return <SessionContext value={session}>{children}</SessionContext>;
}

export function useSession(): Session {
  const session = useContext(SessionContext);
  if (session === null) throw new Error("useSession needs a SessionProvider around it");
  return session;
}

async function fetchToken(user: string): Promise<string | null> {
  const answer = await fetch(`/dev/token?user=${encodeURIComponent(user)}`);
  return answer.ok ? await answer.text() : null;
}

/** What ConvexProviderWithAuth asks for. The same function as long as it is the same user, or they sign in again. */
export function useAuth() {
  const { user } = useSession();
  const fetchAccessToken = useCallback(async () => (user === null ? null : await fetchToken(user)), [user]);
  return useMemo(
    () => ({ isLoading: false, isAuthenticated: user !== null, fetchAccessToken }),
    [user, fetchAccessToken],
  );
}
