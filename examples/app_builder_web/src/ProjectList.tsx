import { useMutation } from "convex/react";
import type { FormEvent } from "react";
import { api, type Framework, type Project } from "./api";
import { useAttempt } from "./trouble";

export const FRAMEWORKS: Record<Framework, string> = {
  NEXTJS: "Next.js",
  REACT: "React",
  VUE: "Vue",
  SVELTE: "Svelte",
  ANGULAR: "Angular",
};

export function ProjectList({ projects, open }: { projects: Project[] | undefined; open: string }) {
  return (
    <nav aria-label="Projects">
      <NewProject />
      <ul>
        {projects?.map((project) => (
          <li key={project._id}>
            <a href={`#${project._id}`} aria-current={project._id === open ? "page" : undefined}>
              <span>{project.name}</span>
              <small>{FRAMEWORKS[project.framework]}</small>
            </a>
          </li>
        ))}
      </ul>
    </nav>
  );
}

function NewProject() {
  const create = useMutation(api.projects.create);
  const attempt = useAttempt();

  async function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = event.currentTarget;
    const name = String(new FormData(form).get("name")).trim();
    const framework = new FormData(form).get("framework") as Framework;
    if (!name) return;
    await attempt(async () => {
      location.hash = await create({ name, framework });
      form.reset();
    });
  }

  return (
    <form className="new-project" onSubmit={submit}>
      <input name="name" aria-label="Name of the new project" placeholder="New project" required />
      <select name="framework" aria-label="Framework">
        {Object.entries(FRAMEWORKS).map(([framework, name]) => (
          <option key={framework} value={framework}>
            {name}
          </option>
        ))}
      </select>
      <button>Create</button>
    </form>
  );
}
