"""The agent's run: an action, which may take its time and use the network, and writes through mutations."""

from __future__ import annotations

from functions import sessions
from functions.sandbox_service import open_sandbox
from reactor import ActionCtx, Environment, Id, internal_action
from schema import Session


class Env(Environment):
    SANDBOX_URL: str
    SANDBOX_API_KEY: str


@internal_action
async def run_agent(ctx: ActionCtx, session_id: Id[Session], prompt: str) -> None:
    """Each mutation stays, whatever happens next, so the row says how far it got.

    A run is never repeated by itself: when the server dies meanwhile, the row stays at "running".
    """
    await ctx.run_mutation(sessions.update_status, session_id=session_id, status="running")
    try:
        env = ctx.env(Env)
        async with open_sandbox(env.SANDBOX_URL, env.SANDBOX_API_KEY) as sandbox:
            result = await sandbox.run(prompt)
        await ctx.run_mutation(sessions.save_result, session_id=session_id, result=result)
    except Exception as error:
        text = str(error) or type(error).__name__
        await ctx.run_mutation(sessions.update_status, session_id=session_id, status="failed", error=text)
        raise  # for the log, and for the state of the scheduled function
