// What this page uses of the sample app: its documents and its functions, typed. See functions/ and schema.py.
import { anyApi, type DefaultFunctionArgs, type FunctionReference } from "convex/server";
import type { GenericId } from "convex/values";

type Query<Args extends DefaultFunctionArgs, Result> = FunctionReference<"query", "public", Args, Result>;
type Mutation<Args extends DefaultFunctionArgs, Result> = FunctionReference<"mutation", "public", Args, Result>;
type Nothing = Record<string, never>;

export type ProjectId = GenericId<"projects">;
export type Framework = "NEXTJS" | "ANGULAR" | "REACT" | "VUE" | "SVELTE";

export interface Project {
  _id: ProjectId;
  _creationTime: number;
  name: string;
  framework: Framework;
}

export interface Fragment {
  title: string;
  files: unknown;
}

export interface Message {
  _id: GenericId<"messages">;
  _creationTime: number;
  projectId: ProjectId;
  content: string;
  role: "USER" | "ASSISTANT";
  type: "RESULT" | "ERROR" | "STREAMING";
  status: "PENDING" | "STREAMING" | "COMPLETE";
  Fragment: Fragment | null;
}

export interface Run {
  _id: GenericId<"agentRuns">;
  status: "PENDING" | "RUNNING" | "COMPLETED" | "FAILED";
  error?: string;
}

export interface Usage {
  points: number;
  maxPoints: number;
  planType: "free" | "pro" | "unlimited";
}

export const api = anyApi as unknown as {
  projects: {
    list: Query<Nothing, Project[]>;
    create: Mutation<{ name: string; framework: Framework }, ProjectId>;
    update: Mutation<{ projectId: ProjectId; name: string }, ProjectId>;
    deleteProject: Mutation<{ projectId: ProjectId }, { success: boolean }>;
  };
  messages: { list: Query<{ projectId: ProjectId }, Message[]> };
  agentRuns: {
    ask: Mutation<{ projectId: ProjectId; value: string }, Run["_id"]>;
    listRecentForProject: Query<{ projectId: ProjectId }, Run[]>;
  };
  usage: { getUsage: Query<Nothing, Usage> };
};
