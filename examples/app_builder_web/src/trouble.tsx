// What went wrong, told to the user in one place.
import { ConvexError } from "convex/values";
import { Component, createContext, useCallback, useContext, useState, type ReactNode } from "react";

type Attempt = (work: () => Promise<unknown>) => Promise<boolean>;

const AttemptContext = createContext<Attempt>(async () => false);

/** Do something that may fail. Answers whether it went well; if not, the user has been told. */
export const useAttempt = () => useContext(AttemptContext);

function describe(error: unknown): string {
  if (error instanceof ConvexError && typeof error.data === "string") return error.data;
  return error instanceof Error ? error.message : String(error);
}

export function TroubleProvider({ children }: { children: ReactNode }) {
  const [trouble, setTrouble] = useState<string | null>(null);
  const attempt = useCallback<Attempt>(async (work) => {
    setTrouble(null);
    try {
      await work();
      return true;
    } catch (error) {
      setTrouble(describe(error));
      return false;
    }
  }, []);
  return (
    <AttemptContext value={attempt}>
      {children}
      <div role="alert">
        {trouble !== null && (
          <p className="trouble">
            {trouble}
            <button className="quiet" onClick={() => setTrouble(null)} aria-label="Dismiss">
              ✕
            </button>
          </p>
        )}
      </div>
    </AttemptContext>
  );
}

/** Shows `fallback` in place of what fails to render: a query that fails throws where its result is used. */
export class Boundary extends Component<{ fallback: ReactNode; children: ReactNode }, { failed: boolean }> {
  override state = { failed: false };

  static getDerivedStateFromError() {
    return { failed: true };
  }

  override render() {
    return this.state.failed ? this.props.fallback : this.props.children;
  }
}
