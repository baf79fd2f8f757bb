import { ConvexProviderWithAuth, ConvexReactClient } from "convex/react";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { App } from "./App";
import { SessionProvider, useAuth } from "./auth";
import "./style.css";

const convex = new ConvexReactClient(import.meta.env.VITE_CONVEX_URL ?? "http://127.0.0.1:3210");

createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <SessionProvider>
      <ConvexProviderWithAuth client={convex} useAuth={useAuth}>
        <App />
      </ConvexProviderWithAuth>
    </SessionProvider>
  </StrictMode>,
);
