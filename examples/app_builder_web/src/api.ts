// What this page uses of the sample app. The types come from its Python code: see `reactor codegen`.
import type { FunctionReturnType } from "convex/server";
import { api } from "../convex/_generated/api";
import type { Doc, Id } from "../convex/_generated/dataModel";

export { api };
export type ProjectId = Id<"projects">;
export type Project = Doc<"projects">;
export type Framework = Project["framework"];
export type Message = FunctionReturnType<typeof api.messages.list>[number];
export type Fragment = NonNullable<Message["Fragment"]>;
export type Run = Doc<"agentRuns">;
