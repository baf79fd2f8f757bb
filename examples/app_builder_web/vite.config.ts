import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// `npm run dev` serves the page with hot reload; signing in and starting runs stay with dev.py.
export default defineConfig({
  base: "./",
  plugins: [react()],
  server: { host: "127.0.0.1", proxy: { "/dev": "http://127.0.0.1:3212" } },
});
